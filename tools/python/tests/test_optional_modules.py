"""Modules for other packages: importing crossrank loads none of them, and where the package is missing, importing the
module says what to install."""

import subprocess
import sys

import pytest

MODULES = {
    "langchain": ("langchain_core", "langchain-core"),
    "llama_index": ("llama_index", "llama-index-core"),
    "haystack": ("haystack", "haystack-ai"),
    "rerankers": ("rerankers", "rerankers"),
    "duckdb": ("duckdb", "duckdb pyarrow"),
    "ray": ("ray", '"ray[data]"'),
    "spark": ("pyspark", "pyspark pyarrow numpy"),
    "table": ("pyarrow", "pyarrow numpy"),
}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_package_is_named(module: str) -> None:
    foreign, install = MODULES[module]
    # None in sys.modules is what Python takes for a module that cannot be imported.
    found = run(
        f"import sys; sys.modules[{foreign!r}] = None\n"
        f"try:\n    import crossrank.{module}\n"
        "except ImportError as error:\n    print(error)"
    )
    assert f"pip install {install}" in found


def test_importing_crossrank_loads_none_of_them() -> None:
    foreign = [name for name, _ in MODULES.values()]
    assert run(f"import sys, crossrank\nprint([name for name in {foreign!r} if name in sys.modules])") == "[]\n"

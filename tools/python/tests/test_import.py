"""What `import crossrank` does not load, and what the package says of itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

import crossrank

HEAVY = ("numpy", "asyncio", "torch", "pandas", "pyarrow", "tqdm", "json", "typing")


def test_importing_loads_nothing_heavy(python: Callable[..., str]) -> None:
    program = f"import sys, crossrank; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert python(program) == "[]\n"


def test_ranking_needs_no_numpy(python: Callable[..., str], folder: str) -> None:
    program = """
import sys, crossrank
model = crossrank.CrossEncoder(sys.argv[1])
print(model.rank("rivers", ["the sea", "bread"])[0]["corpus_id"] in (0, 1), "numpy" in sys.modules)
"""
    assert python(program, folder) == "True False\n"


def test_the_version_is_the_packages() -> None:
    assert crossrank.__version__ == metadata.version("crossrank")


def test_everything_public_is_documented() -> None:
    for name in crossrank.__all__:
        thing = getattr(crossrank, name)
        assert name == "__version__" or thing.__doc__, name
    for name, thing in vars(crossrank.CrossEncoder).items():
        assert name.startswith("_") or thing.__doc__, name


def test_licences_are_in_the_packages() -> None:
    for package in ("crossrank", "crossrank-model"):
        files = [str(file) for file in metadata.files(package) or []]
        for wanted in ("LICENSE-MIT", "LICENSE-APACHE", "MODEL_CARD.md"):
            assert any(file.endswith(wanted) for file in files), (package, wanted)

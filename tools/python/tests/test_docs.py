"""Every block of Python in the docs runs, and prints what the block behind it says.

A block is fenced as `python`, alone or with `full:GROUP`. The latter is run where `CROSSRANK_REQUIRE` has the group.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from collections.abc import Iterator
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = [*sorted((ROOT / "docs").glob("python*.md")), ROOT / "tools" / "python" / "README.md"]
BLOCK = re.compile(r"^```python(?: full:(\w+))?\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def blocks() -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text[: match.start()].count("\n") + 1
            yield pytest.param(*match.groups(), id=f"{page.name}:{line}")


@pytest.mark.parametrize("group, code, printed", list(blocks()))
def test_block(group: str | None, code: str, printed: str | None, tmp_path: Path) -> None:
    if group and group not in os.environ.get("CROSSRANK_REQUIRE", "").split(","):
        pytest.skip(f"CROSSRANK_REQUIRE has no {group}: run by `tools/python/check.sh full`")
    script = tmp_path / "block.py"
    script.write_text(code, encoding="utf-8")
    quiet = {
        "DO_NOT_TRACK": "1",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Loopback alone.
        "RAY_AUTH_TOKEN": os.urandom(32).hex(),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env={**os.environ, **quiet}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    if printed is not None:
        assert done.stdout == printed


def test_every_block_is_found_and_has_a_known_group() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = re.findall(r"^```(python.*)$", text, re.MULTILINE)
        assert len(fences) == len(BLOCK.findall(text)), f"{page.name}: a block that no test runs"
        for fence in fences:
            assert fence in ("python", "python full:adapters", "python full:ray", "python full:spark"), page.name
    assert (ROOT / "docs" / "python.md") in PAGES

"""The README's programs run, each in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 4


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_it_runs(python: Callable[..., str], program: str) -> None:
    written = python(program)
    # What it says it prints.
    expected = re.findall(r"^print\(.*?\)  # (.*)$", program, re.MULTILINE)
    assert all(line in written for line in expected), written


def test_the_packages_own_example_is_right() -> None:
    import doctest

    import crossrank

    assert doctest.testmod(crossrank) == doctest.TestResults(failed=0, attempted=4)

"""What tests share: small checkpoints, loaded once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import crossrank

FIXTURES = Path(__file__).resolve().parents[3] / "tests" / "fixtures"

QUERY = "where do rivers go"
DOCUMENTS = [
    "Rivers run downhill until they reach the sea.",
    "Bread is baked in an oven.",
    "The bank by the river closes at four.",
    "",
    "naïve café: 川は海へ流れる 👩‍👩‍👧",
]


@pytest.fixture(scope="session")
def folder() -> str:
    return str(FIXTURES / "gelu-60")


@pytest.fixture(scope="session")
def model(folder: str) -> crossrank.CrossEncoder:
    return crossrank.CrossEncoder(folder, threads=2)


@pytest.fixture(scope="session")
def labels() -> crossrank.CrossEncoder:
    """A model of three labels."""
    return crossrank.CrossEncoder(FIXTURES / "relu-3-labels", threads=1)


@pytest.fixture
def python() -> Callable[..., str]:
    """Runs a program in a process of its own, and gives what it wrote; it has two minutes."""

    def run(program: str, *arguments: str) -> str:
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run

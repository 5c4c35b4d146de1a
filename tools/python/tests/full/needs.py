"""What the tests in this folder need beyond the packages of the ordinary ones, and the fixtures' paths."""

import importlib
import os
import secrets
import shutil
from pathlib import Path

import pytest

# Read by packages when they are imported: a test module imports this one before them.
os.environ.update(
    DO_NOT_TRACK="1",
    HAYSTACK_TELEMETRY_ENABLED="False",
    LANGCHAIN_TRACING_V2="false",
    LANGSMITH_TRACING="false",
    RAY_USAGE_STATS_ENABLED="0",
    # With this, Ray takes the loopback interface. `_node_ip_address` does not achieve that: Ray replaces a loopback address
    # that is given there by the machine's own.
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
    # Else Ray writes a token into the user's home.
    RAY_AUTH_TOKEN=secrets.token_hex(32),
    SPARK_LOCAL_IP="127.0.0.1",
)

FIXTURES = Path(__file__).resolve().parents[4] / "tests" / "fixtures"
MODEL = str(FIXTURES / "gelu-60")
OTHER_MODEL = str(FIXTURES / "distilbert")

# What adapters are asked: an empty text and one that is there twice among the documents.
QUERY = "Why is the sky blue at noon?"
TEXTS = ["", "Bread is baked.", "The sky is blue 😀.", "Dry air lets the heat escape.", "The sky is blue 😀."]


def _missing(group: str, what: str) -> None:
    """Skips the module aloud; fails where `CROSSRANK_REQUIRE` says that this group is to be run."""
    reason = f"{group}: {what} is missing (tools/python/requirements/{group}.txt)"
    if group in os.environ.get("CROSSRANK_REQUIRE", "").split(","):
        raise RuntimeError(reason)
    pytest.skip(reason, allow_module_level=True)


def package(name: str, group: str) -> None:
    """Skips the module that calls this where a package is not installed."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        _missing(group, f"the package {name} ({error})")


def program(name: str, group: str, hint: str) -> None:
    """Skips the module that calls this where a program is not installed."""
    if shutil.which(name) is None:
        _missing(group, f"the program {name} ({hint})")

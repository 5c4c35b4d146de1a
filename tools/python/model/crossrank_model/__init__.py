"""The default model of crossrank, as a folder; `crossrank.CrossEncoder()` loads it."""

import os


def folder() -> str:
    """The model's folder."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "model")

"""What a call came to, in a form that a file can have: values, types, shapes, or the class of an error."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from . import folders
from .calls import Call


class Models:
    """Each is loaded once for all calls that load it alike."""

    def __init__(self, load: Any, nn: Any, scratch: Path) -> None:
        self.scratch = scratch
        self.load = load
        self.nn = nn
        self.loaded: dict[str, Any] = {}

    def outcome(self, call: Call) -> dict[str, Any]:
        """What a call comes to."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return describe(self.run(call))
            except Exception as error:
                return {"error": type(error).__name__, "is_a": [kind.__name__ for kind in type(error).__mro__[1:-2]]}

    def run(self, call: Call) -> Any:
        options = call.load(self.nn)
        folder = folders.find(call.model, self.scratch)
        if options:
            model = self.load(folder, **options)
        else:
            if call.model not in self.loaded:
                self.loaded[call.model] = self.load(folder)
            model = self.loaded[call.model]
        positional, arguments = call.arguments(self.nn)
        return getattr(model, call.method)(*positional, **arguments)


def describe(result: Any) -> dict[str, Any]:
    """Its type, shape and values."""
    if isinstance(result, (np.ndarray, np.generic)):
        return {
            "type": type(result).__name__,
            "dtype": str(result.dtype),
            "shape": list(result.shape),
            "values": np.asarray(result, dtype=np.float64).round(7).tolist(),
        }
    if isinstance(result, list) and all(isinstance(item, dict) for item in result):
        rows = [{key: plain(value) for key, value in item.items()} for item in result]
        types = [{key: type(value).__name__ for key, value in item.items()} for item in result]
        return {"type": "list", "rows": rows, "types": types}
    return {"type": type(result).__name__}


def plain(value: Any) -> Any:
    return round(value, 7) if isinstance(value, float) else str(value) if isinstance(value, str) else value

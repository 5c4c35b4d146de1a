"""What arguments may be. Errors name the argument, what was expected and what was found."""

from __future__ import annotations

import operator
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What sentence-transformers still takes under earlier names.
RENAMED = {
    "model_name": "model_name_or_path",
    "automodel_args": "model_kwargs",
    "tokenizer_args": "processor_kwargs",
    "tokenizer_kwargs": "processor_kwargs",
    "config_args": "config_kwargs",
    "cache_dir": "cache_folder",
    "default_activation_function": "activation_fn",
}
RENAMED_OF_CALLS = {"sentences": "inputs", "activation_fct": "activation_fn"}


def whole(name: str, value: Any, least: int) -> int:
    """A whole number, at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        found = "None" if value is None else type(value).__name__
        raise TypeError(f"{name}: expected a whole number, found {found}") from None
    if number < least or number >= 1 << 63:
        raise ValueError(f"{name}: expected at least {least}, found {number}")
    return number


def optional_whole(name: str, value: Any, least: int) -> int | None:
    """A whole number or None."""
    return None if value is None else whole(name, value, least)


def optional_number(name: str, value: Any) -> float | None:
    """A number or None."""
    if value is None:
        return None
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name}: expected a number, found {type(value).__name__}")
    try:
        return float(value)
    except TypeError:
        raise TypeError(f"{name}: expected a number, found {type(value).__name__}") from None


def optional_text(name: str, value: Any) -> str | None:
    """A string or None."""
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{name}: expected a string, found {type(value).__name__}")


def refuse(reason: str, /, **arguments: Any) -> None:
    """A TypeError that names the first argument which is not None, an empty collection or False."""
    for name, value in arguments.items():
        if value is None or value is False or (isinstance(value, (dict, list, tuple)) and not value):
            continue
        raise TypeError(f"{name}: {reason}, so expected nothing, found {value!r:.80}")


def device(value: Any) -> None:
    """There is one device."""
    if value is None:
        return
    devices = value if isinstance(value, (list, tuple)) else [value]
    for found in devices:
        if str(found) != "cpu":
            raise TypeError(f"device: crossrank runs on CPUs, so expected None or 'cpu', found {str(found)!r:.80}")


def rename(arguments: dict[str, Any], names: dict[str, str], function: str) -> dict[str, Any]:
    """Arguments under the names that they have today, with a warning for each that had another."""
    renamed = {}
    for name, value in arguments.items():
        now = names.get(name)
        if now is None:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
        warnings.warn(f"{function}: `{name}` is called `{now}` today", DeprecationWarning, stacklevel=3)
        renamed[now] = value
    return renamed

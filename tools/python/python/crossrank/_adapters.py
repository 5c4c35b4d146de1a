"""What the adapters for other libraries share: loading a model and asking it for a ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import crossrank


def load(model: Any, options: Mapping[str, Any] | None) -> Any:
    """Gives the encoder that an adapter was asked for.

    ``model`` is a :class:`crossrank.CrossEncoder`, which is shared as it is, or what its constructor takes first (a name,
    a path, or ``None`` for the model of the wheel ``crossrank-model``); ``options`` are the constructor's other arguments.

    Raises ``TypeError`` for options beside an encoder that is already loaded, and whatever the constructor raises.
    """
    if isinstance(model, crossrank.CrossEncoder):
        if options:
            names = ", ".join(sorted(options))
            raise TypeError(f"options: expected none for a model that is loaded already, found {names}")
        return model
    return crossrank.CrossEncoder(model, **dict(options or {}))


def by_name(model: Any) -> str | None:
    """Gives ``model`` back where workers can load it, each from its own machine: a name, a path or ``None``.

    Raises ``TypeError`` for anything else.
    """
    if model is not None and not isinstance(model, str):
        raise TypeError(f"model: expected a name or path, which each worker loads, found {type(model).__name__}")
    return model


def is_data_frame(table: Any) -> bool:
    """Whether ``table`` is pandas', which is not imported for it."""
    return type(table).__name__ == "DataFrame" and type(table).__module__.split(".")[0] == "pandas"


def positive(name: str, value: int | None) -> int | None:
    """Gives ``value`` back where it is ``None`` or a whole number above 0.

    Raises ``TypeError`` and ``ValueError``, both with ``name``, for anything else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected a whole number or None, found {value!r}")
    if value <= 0:
        raise ValueError(f"{name}: expected a number above 0, or None for all, found {value}")
    return value


def rank(encoder: Any, query: str, texts: Sequence[str], **options: Any) -> list[tuple[int, float]]:
    """Ranks ``texts`` for ``query``: pairs of an index into ``texts`` and a score, best first.

    ``options`` are those of :meth:`crossrank.CrossEncoder.rank`; what is ``None`` is left out. No text, no result.
    """
    return _pairs(encoder.rank(query, list(texts), **_given(options))) if texts else []


async def arank(encoder: Any, query: str, texts: Sequence[str], **options: Any) -> list[tuple[int, float]]:
    """Does what :func:`rank` does, without blocking the event loop."""
    return _pairs(await encoder.arank(query, list(texts), **_given(options))) if texts else []


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _pairs(results: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    return [(int(result["corpus_id"]), float(result["score"])) for result in results]

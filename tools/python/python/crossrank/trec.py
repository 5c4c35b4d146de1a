"""Writes a scored table as a TREC run that every evaluation tool ranks alike."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TextIO

try:
    import numpy as np
except ImportError as error:
    raise ImportError("crossrank.trec needs the package numpy: pip install numpy") from error

from crossrank._adapters import is_data_frame

__all__ = ["write_run"]

_MOST = np.finfo(np.float32).max


def write_run(
    result: Any,
    file: str | os.PathLike[str] | TextIO,
    *,
    tag: str = "crossrank",
    query_id: str = "query_id",
    document_id: str = "document_id",
    row: str | None = "row",
    score: str = "score",
    scored: str | None = "scored",
) -> int:
    """Writes six columns (query, ``Q0``, document, rank, score, tag) and gives the number of lines.

    ``result``: an Arrow table, a pandas ``DataFrame`` or a mapping of columns, in any order of rows: they are sorted by
    ``row`` (``None`` leaves them as they are). Queries come in the order of their first row; documents of a query by score,
    highest first, and by row where scores are equal. Rows whose ``scored`` is false are left out (``None``: there is no such
    column). ``file``: a path, written in UTF-8, or an open text file. Ids may be texts or whole numbers.

    Tools disagree about equal scores, and some read them as 32-bit floats. So within a query scores fall strictly as 32-bit
    floats read back from the text: one that is not below the score before it is written as the next smaller float. Scores
    through a sigmoid are equal where logits are far from 0: better score with ``activation_fn="identity"`` for a run.

    Raises ``ValueError``, before anything is written, with the column and the row: for an id that is empty, or has white
    space or control characters, for a query that begins with ``#``, a document that a query has twice, a null, and a score
    that is not finite. ``ValueError`` names a missing column and those that are there; a result without columns and rows is
    an empty run.
    """
    _check("tag", tag, "the argument")
    wanted = {"query_id": query_id, "document_id": document_id, "row": row, "score": score, "scored": scored}
    columns = {argument: _column(result, argument, name) for argument, name in wanted.items() if name is not None}
    queries, documents = columns["query_id"], columns["document_id"]
    rows = columns.get("row", range(len(queries)))
    wanted_rows = columns.get("scored", [True] * len(queries))
    rankings: dict[str, dict[str, np.float32]] = {}
    for index in _order(rows, row):
        place = f"row {rows[index]!r}"
        if _null(wanted_rows[index]):
            raise ValueError(f"{place}: column {scored!r}: expected true or false, found null")
        if not wanted_rows[index]:
            continue
        query = _check("query", _id(queries[index], query_id, place), place)
        document = _check("document", _id(documents[index], document_id, place), place)
        ranking = rankings.setdefault(query, {})
        if document in ranking:
            raise ValueError(f"{place}: expected a document that query {query!r} has not yet, found {document!r}")
        ranking[document] = _finite(columns["score"][index], score, place)
    lines = [line for query, ranking in rankings.items() for line in _lines(query, ranking, tag)]
    text = "".join(lines)
    if isinstance(file, (str, os.PathLike)):
        with open(file, "w", encoding="utf-8", newline="\n") as opened:
            opened.write(text)
    else:
        file.write(text)
    return len(lines)


def _column(result: Any, argument: str, name: str) -> list[Any]:
    if isinstance(result, Mapping):
        names = list(result)
    elif isinstance(getattr(result, "column_names", None), list):
        names = result.column_names
    elif is_data_frame(result):
        names = list(result.columns)
    else:
        raise TypeError(
            f"result: expected an Arrow table, a pandas DataFrame or a mapping of columns, found {type(result).__name__}"
            " (a Spark DataFrame has toArrow(), a Ray dataset to_pandas())"
        )
    if not names and not len(result):
        return []  # Ray gives such a result for an empty dataset.
    if name not in names:
        there = ", ".join(repr(name) for name in names)
        raise ValueError(f"{argument}: expected a column {name!r} (scored and row may be None), found {there}")
    values = result[name]
    for method in ("to_pylist", "tolist"):
        if hasattr(values, method):
            return list(getattr(values, method)())
    return list(values)


def _order(rows: Any, column: str | None) -> list[int]:
    if any(_null(value) for value in rows):
        raise ValueError(f"row: column {column!r}: expected a value in each row, to sort by, found null")
    try:
        return sorted(range(len(rows)), key=lambda index: rows[index])
    except TypeError as error:
        raise ValueError(f"row: column {column!r}: expected values of one type, to sort by: {error}") from error


def _null(value: Any) -> bool:
    # None, nan, and pandas' NA, whose comparisons are neither true nor false.
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def _id(value: Any, column: str, place: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{place}: column {column!r}: expected an id, a text or a whole number, found {value!r}")


def _check(what: str, id: str, place: str) -> str:
    if not id or any(c.isspace() or c < " " or "\x7f" <= c <= "\x9f" for c in id):
        raise ValueError(f"{place}: {what}: expected no white space or control characters, found {id!r}")
    if what == "query" and id.startswith("#"):
        raise ValueError(f"{place}: query: expected an id that does not begin as a comment, found {id!r}")
    return id


def _finite(value: Any, column: str, place: str) -> np.float32:
    score: np.float32 = np.float32(np.nan)
    try:
        # What is too large becomes infinite, and is refused as such.
        with np.errstate(over="ignore"):
            score = np.float32(value)
    except (TypeError, ValueError):
        pass  # It is refused as it stands.
    if not np.isfinite(score):
        raise ValueError(f"{place}: column {column!r}: expected a finite number, found {value!r}")
    return score


def _lines(query: str, ranking: dict[str, np.float32], tag: str) -> list[str]:
    # Sorting keeps the order of equal scores, which is that of the rows.
    best = sorted(ranking.items(), key=lambda item: -item[1])
    scores = _falling([score for _, score in best])
    return [
        f"{query} Q0 {document} {rank} {_text(score)} {tag}\n"
        for rank, ((document, _), score) in enumerate(zip(best, scores), start=1)
    ]


def _falling(scores: list[np.float32]) -> list[np.float32]:
    """The scores, each as it is where it is below the one before, else the next smaller float. At the end of the range of
    floats those before give way."""
    lowest = _place(-_MOST)
    before = _place(_MOST) + 1
    fallen = []
    for index, score in enumerate(scores):
        before = max(min(_place(score), before - 1), lowest + len(scores) - 1 - index)
        fallen.append(_float(before))
    return fallen


def _place(score: np.float32) -> int:
    """Where a finite float stands among all of them, in steps from 0."""
    magnitude = int(np.abs(score).view(np.uint32))
    return -magnitude if score < 0 else magnitude


def _float(place: int) -> np.float32:
    magnitude: np.float32 = np.uint32(abs(place)).view(np.float32)
    return np.float32(-magnitude) if place < 0 else magnitude


def _text(score: np.float32) -> str:
    """The shortest text that reads back as the float: directly, and by way of a 64-bit float, as C and Python read it."""
    shortest = _shortest(score)
    return shortest if np.float32(float(shortest)) == score else repr(float(score))


def _shortest(score: np.float32) -> str:
    magnitude = abs(score)
    if magnitude == 0 or 1e-5 <= magnitude < 1e16:
        return np.format_float_positional(score, unique=True, trim="0")
    mantissa, exponent = np.format_float_scientific(score, unique=True, trim="-").split("e")
    return f"{mantissa}e{int(exponent)}"

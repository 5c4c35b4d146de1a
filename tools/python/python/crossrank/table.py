"""Scores a table of pairs in this process: what :mod:`crossrank.ray` and :mod:`crossrank.spark` do in many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossrank import _adapters
from crossrank._columns import Columns, pa

__all__ = ["rerank"]


def rerank(
    table: Any,
    model: Any = None,
    *,
    query: str = "query",
    document: str = "document",
    query_id: str | None = "query_id",
    document_id: str | None = "document_id",
    row: str | None = "row",
    score: str = "score",
    scored: str = "scored",
    nulls: str = "error",
    keep: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Scores each row of a table, a pair of texts, and gives a new Arrow table; rows keep their order.

    ``table``: a ``pyarrow.Table`` or ``RecordBatch``, or a pandas ``DataFrame``, whose index is left out. ``model``: a
    :class:`crossrank.CrossEncoder`, or a name or path of one, ``None`` for the default model; ``options``: other arguments
    of it. The other arguments are names of columns: ``query`` and ``document`` have the texts; ``query_id``,
    ``document_id`` and ``row`` name a row in errors and order a run, and each may be ``None``; ``score`` (float32, what
    :meth:`crossrank.CrossEncoder.predict` gives) and ``scored`` (bool) are added behind the columns of ``keep``, which is
    all of the table's unless it names some.

    A null text (pandas' ``None`` and ``nan`` are such) is a ``ValueError`` that names its row; with ``nulls="skip"`` that
    row's ``score`` is null and its ``scored`` is ``False``. ``ValueError`` names a column that is missing and says which
    are there; ``TypeError`` one that is not text, or a table of another type.
    """
    columns = Columns(query, document, query_id, document_id, row, score, scored, nulls, keep)
    table = _as_table(table)
    columns.check(table.column_names)
    return columns.score_table(_adapters.load(model, options), table)


def _as_table(table: Any) -> pa.Table:
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if _adapters.is_data_frame(table):
        return pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    raise TypeError(f"table: expected an Arrow table or a pandas DataFrame, found {type(table).__name__}")

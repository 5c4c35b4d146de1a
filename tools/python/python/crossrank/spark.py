"""Scores pairs of a Spark DataFrame, on all of a cluster's workers."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

try:
    import pyarrow as pa
    from pyspark.sql.types import BooleanType, FloatType, StringType, StructField, StructType
except ImportError as error:
    raise ImportError(
        "crossrank.spark needs the packages pyspark and pyarrow: pip install pyspark pyarrow numpy"
    ) from error

from crossrank import _adapters
from crossrank._columns import Columns

__all__ = ["rerank"]


def rerank(
    df: Any,
    model: str | None = None,
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
    threads: int = 1,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Gives a DataFrame with the columns of ``keep`` (all unless it names some), ``score`` and ``scored``. It is lazy.

    The score of a pair has the same bits on every worker of one kind of CPU, however the rows are partitioned, and though
    a task is run again. Rows come in whatever order Spark gives them in: ``row`` is there to sort them by.

    ``model``: a name or path as :class:`crossrank.CrossEncoder` takes it, ``None`` for the default model. Each Python worker
    loads it once, from its own machine. ``threads``: how many threads a worker scores with; Spark gives a task
    ``spark.task.cpus`` of them. ``options``: other arguments of :class:`crossrank.CrossEncoder`. The names of columns and
    ``nulls`` are as in :func:`crossrank.table.rerank`.

    Raises ``ValueError`` for a column that is missing, naming those that are there, and ``TypeError`` for one that is not
    text and for a model that is not a name. An action raises Spark's ``PythonException`` with the row of a null text, or
    with the batch's first row, in its message; Spark tries a task again as often as ``spark.task.maxFailures`` says.
    """
    _adapters.by_name(model)
    columns = Columns(query, document, query_id, document_id, row, score, scored, nulls, keep)
    columns.check(df.columns)
    fields = {field.name: field for field in df.schema.fields}
    for name in (query, document):
        if not isinstance(fields[name].dataType, StringType):
            raise TypeError(f"column {name!r}: expected text, found {fields[name].dataType.simpleString()}")
    schema = StructType(
        [fields[name] for name in columns.kept(df.columns)]
        + [StructField(score, FloatType(), True), StructField(scored, BooleanType(), True)]
    )
    settings = {"threads": threads, **dict(options or {})}
    return df.mapInArrow(functools.partial(_score, columns, model, settings), schema)


def _score(
    columns: Columns, model: str | None, settings: dict[str, Any], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        scored = columns.score_table(_encoder(model, settings), pa.Table.from_batches([batch]))
        # Spark takes columns by their position: they are in the schema's order, because both are in that of `kept`.
        yield from scored.combine_chunks().to_batches()


# The encoders of this worker, newest last. A worker runs many tasks one after another.
_encoders: list[tuple[str | None, dict[str, Any], Any]] = []


def _encoder(model: str | None, settings: dict[str, Any]) -> Any:
    """An encoder that is kept for the next tasks; two of them, so that memory stays flat where every task brings another."""
    for known, its_settings, encoder in _encoders:
        if known == model and its_settings == settings:
            return encoder
    encoder = _adapters.load(model, settings)
    _encoders.append((model, settings, encoder))
    del _encoders[:-2]
    return encoder

"""The columns of a table of pairs, and how a part of such a table is scored.

One process, an actor of Ray and a worker of Spark all score with :meth:`Columns.score`, so that all give the same table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

try:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as error:
    raise ImportError("tables of pairs need the packages pyarrow and numpy: pip install pyarrow numpy") from error

__all__ = ["Columns", "np", "pa", "pc"]

NULLS = ("error", "skip")


@dataclass(frozen=True)
class Columns:
    """The names of columns, and what to do about a null text.

    ``query`` and ``document`` are read, ``query_id``, ``document_id`` and ``row`` name a row in errors; each of these three
    may be ``None`` where a table has none. ``score`` and ``scored`` are added. ``nulls`` is ``"error"``, or ``"skip"``: a
    row without a text then has a null score, and ``False`` in ``scored``. ``keep`` are the input's columns that are passed
    along, in this order; ``None`` is all.
    """

    query: str = "query"
    document: str = "document"
    query_id: str | None = "query_id"
    document_id: str | None = "document_id"
    row: str | None = "row"
    score: str = "score"
    scored: str = "scored"
    nulls: str = "error"
    keep: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.keep is not None:
            # Its own: a caller's list may change, and columns travel to workers.
            object.__setattr__(self, "keep", tuple(self.keep))
        if self.nulls not in NULLS:
            raise ValueError(f'nulls: expected "error" or "skip", found {self.nulls!r}')
        if self.score == self.scored:
            raise ValueError(f"score, scored: expected two names, found {self.score!r} twice")

    def check(self, names: Sequence[str]) -> None:
        """Raises ``ValueError`` unless a table with columns of these ``names`` can be scored: it names what is missing,
        and says what is there; likewise for a name that is there twice, or that would be written over."""
        wanted = {
            "query": self.query,
            "document": self.document,
            "query_id": self.query_id,
            "document_id": self.document_id,
            "row": self.row,
        }
        there = ", ".join(repr(name) for name in names) or "none"
        for argument, name in [*wanted.items(), *(("keep", name) for name in self.keep or ())]:
            if name is None:
                continue
            if name not in names:
                optional = f" ({argument}=None does without)" if argument in ("query_id", "document_id", "row") else ""
                raise ValueError(f"{argument}: expected a column {name!r}{optional}, found {there}")
            if list(names).count(name) > 1:
                raise ValueError(f"{argument}: expected one column {name!r}, found several: {there}")
        for argument in ("score", "scored"):
            name = getattr(self, argument)
            if name in self.kept(names):
                raise ValueError(f"{argument}: expected a name that is not taken, found {name!r} among {there}")

    def kept(self, names: Sequence[str]) -> list[str]:
        """The input's columns that are passed along."""
        return list(names if self.keep is None else self.keep)

    def score_table(self, encoder: Any, table: pa.Table) -> pa.Table:
        """Gives a new table: the columns that are kept, then ``score`` (float32) and ``scored`` (bool). ``table`` stays as
        it is, and rows keep their order.

        ``ValueError`` and ``TypeError`` say with which row the table begins, and name the column and, for a null text, its row.
        """
        self.check(table.column_names)
        query, document = (self._texts(table, name) for name in (self.query, self.document))
        valid = pc.and_(pc.is_valid(query), pc.is_valid(document)).combine_chunks()
        skipped = valid.false_count
        if skipped and self.nulls == "error":
            self._refuse_null(table, valid)
        if skipped:
            query, document = query.filter(valid), document.filter(valid)
        try:
            found = encoder.predict_columns(query, document)
        except (ValueError, TypeError, RuntimeError) as error:
            kind = next(kind for kind in (ValueError, TypeError, RuntimeError) if isinstance(error, kind))
            raise kind(f"{self.beginning(table)}: {error}") from error
        if found.ndim != 1:
            raise ValueError(f"model: expected one with one label, found one with {found.shape[-1]}")
        scores = self._column_of_scores(found, valid, skipped)
        result = table.select(self.kept(table.column_names))
        return result.append_column(self.score, scores).append_column(self.scored, valid)

    def _column_of_scores(self, found: np.ndarray, valid: pa.BooleanArray, skipped: int) -> pa.Array:
        if not skipped:
            return pa.array(found, pa.float32())
        mask = valid.to_numpy(zero_copy_only=False)
        scores = np.zeros(len(valid), np.float32)
        scores[mask] = found
        return pa.array(scores, pa.float32(), mask=~mask)

    def beginning(self, table: pa.Table) -> str:
        """Names the table by its first row, for errors."""
        return f"batch of {table.num_rows} rows that begins at {self.place(table, 0)}" if table.num_rows else "empty batch"

    def place(self, table: pa.Table, index: int) -> str:
        """Names a row by its number and ids, as far as there are such columns, else by its index in ``table``."""
        named = [("row", self.row), ("query_id", self.query_id), ("document_id", self.document_id)]
        values = [(what, table.column(name)[index].as_py()) for what, name in named if name in table.column_names]
        if not values:
            return f"index {index}"
        return ", ".join(f"{what} {value!r}" for what, value in values)

    def _texts(self, table: pa.Table, name: str) -> pa.ChunkedArray:
        column = table.column(name)
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if pa.types.is_null(kind):
            return column.cast(pa.string())
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            return column
        raise TypeError(f"column {name!r}: expected text, found {kind}")

    def _refuse_null(self, table: pa.Table, valid: pa.BooleanArray) -> None:
        index = pc.index(valid, False).as_py()
        column = next(name for name in (self.query, self.document) if not table.column(name)[index].is_valid)
        raise ValueError(
            f'{self.beginning(table)}: {self.place(table, index)}: column {column!r}: expected text, found null (nulls="skip" leaves such rows unscored)'
        )

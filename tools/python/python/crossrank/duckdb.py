"""crossrank in SQL: a function ``rerank(query, document)`` for DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    import duckdb
    import pyarrow as pa
    from duckdb.sqltypes import FLOAT, VARCHAR
except ImportError as error:
    raise ImportError(
        "crossrank.duckdb needs the packages duckdb and pyarrow: pip install duckdb pyarrow"
    ) from error

from crossrank import _adapters

__all__ = ["register"]


def register(
    con: duckdb.DuckDBPyConnection,
    model: Any = None,
    *,
    name: str = "rerank",
    replace: bool = False,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Gives a connection, and cursors of it, the SQL function ``rerank(query VARCHAR, document VARCHAR) -> FLOAT``.

    The score is what :meth:`crossrank.CrossEncoder.predict` gives for the pair; where the query or the document is NULL
    it is NULL, as with SQL's own functions. DuckDB hands over at most 2,048 rows at a time.

    ``model``: a :class:`crossrank.CrossEncoder`, or a name or path of one, ``None`` for the default model. ``name``: the
    function's; two models in one connection need two names. ``replace``: whether a function of that name, made from Python
    before, may be replaced. ``options``: other arguments of :class:`crossrank.CrossEncoder`.

    Raises ``duckdb.NotImplementedException`` where the name is taken and ``replace`` is false, and what the constructor raises.
    """
    encoder = _adapters.load(model, options)

    def rerank(query: pa.ChunkedArray, document: pa.ChunkedArray) -> pa.Array:
        return pa.array(encoder.predict_columns(query, document), pa.float32())

    if replace:
        try:
            con.remove_function(name)
        except duckdb.InvalidInputException:
            pass  # There is none.
    con.create_function(name, rerank, [VARCHAR, VARCHAR], FLOAT, type="arrow")

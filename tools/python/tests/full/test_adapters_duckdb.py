"""crossrank.duckdb with the real package."""

from collections.abc import Iterator
from typing import Any

import needs
import numpy as np
import pytest

needs.package("duckdb", "adapters")

import duckdb  # noqa: E402
from needs import MODEL, OTHER_MODEL, QUERY, TEXTS  # noqa: E402

from crossrank import CrossEncoder  # noqa: E402
from crossrank.duckdb import register  # noqa: E402


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    return CrossEncoder(MODEL)


@pytest.fixture
def con() -> Iterator[Any]:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE docs (id INTEGER, text VARCHAR)")
    connection.executemany("INSERT INTO docs VALUES (?, ?)", list(enumerate(TEXTS)))
    yield connection
    connection.close()


def bits(scores: Any) -> Any:
    return np.asarray(scores, np.float32).view("uint32").tolist()


def test_a_query_orders_by_it(con: Any, model: CrossEncoder) -> None:
    register(con, model)
    rows = con.execute("SELECT id, rerank(?, text) AS score FROM docs ORDER BY score DESC, id", [QUERY]).fetchall()
    expected = model.rank(QUERY, TEXTS)
    assert [row[0] for row in rows] == [result["corpus_id"] for result in expected]
    assert bits([row[1] for row in rows]) == bits([result["score"] for result in expected])
    assert con.execute("SELECT typeof(rerank('a', 'b'))").fetchall() == [("FLOAT",)]


def test_many_chunks_give_the_bits_of_one_call(con: Any, model: CrossEncoder) -> None:
    register(con, model, name="score")
    con.execute("CREATE TABLE many AS SELECT i, 'sky ' || (i * 37 % 5000) AS text FROM range(5000) t(i)")
    rows = con.execute("SELECT i, text, score('blue noon', text) FROM many ORDER BY i").fetchall()
    scores = model.predict([("blue noon", row[1]) for row in rows])
    assert bits([row[2] for row in rows]) == bits(scores)


def test_null_gives_null_and_no_row_gives_none(con: Any, model: CrossEncoder) -> None:
    register(con, model)
    con.execute("INSERT INTO docs VALUES (5, NULL)")
    rows = con.execute("SELECT id, rerank('sky', text) IS NULL FROM docs ORDER BY id").fetchall()
    assert [row[1] for row in rows] == [False] * 5 + [True]
    assert con.execute("SELECT rerank(NULL, text) FROM docs").fetchall() == [(None,)] * 6
    assert con.execute("SELECT rerank('sky', text) FROM docs WHERE id > 9").fetchall() == []


def test_a_million_characters(con: Any, model: CrossEncoder) -> None:
    register(con, model)
    long = "😀 sky " * 170_000
    [(score,)] = con.execute("SELECT rerank('sky', ?)", [long]).fetchall()
    assert bits([score]) == bits(model.predict([("sky", long)]))


def test_two_models_replacing_and_cursors(con: Any, model: CrossEncoder) -> None:
    register(con, model)
    register(con, OTHER_MODEL, name="rerank2", options={"threads": 1})
    [(one, two)] = con.execute("SELECT rerank('sky', 'blue'), rerank2('sky', 'blue')").fetchall()
    assert one != two
    with pytest.raises(duckdb.Error, match="rerank"):
        register(con, OTHER_MODEL)
    register(con, OTHER_MODEL, replace=True)
    assert con.cursor().execute("SELECT rerank('sky', 'blue')").fetchall() == [(two,)]
    register(con, model, name="third", replace=True)
    assert con.execute("SELECT third('sky', 'blue')").fetchall() == [(one,)]


def test_errors(con: Any, model: CrossEncoder) -> None:
    with pytest.raises(FileNotFoundError, match="/no/such/model"):
        register(con, "/no/such/model")
    register(con, model)
    with pytest.raises(duckdb.Error, match="rerank"):
        con.execute("SELECT rerank(1, 2.5)")

"""Whatever may hold texts, and whatever holds none: columns, arrays, wrong types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import DOCUMENTS, QUERY

import crossrank
from crossrank import InputError


class Capsule:
    """Nothing but the interface: an array's, or a stream's."""

    def __init__(self, of: Any, name: str) -> None:
        self._of = of
        setattr(type(self), name, lambda self, requested_schema=None: getattr(self._of, name)())


class OneArray(Capsule):
    pass


class Stream(Capsule):
    pass


COLUMNS = {
    "list": DOCUMENTS,
    "tuple": tuple(DOCUMENTS),
    "array of objects": np.array(DOCUMENTS, dtype=object),
    "array of strings": np.array(DOCUMENTS),
    "array of strings of their own length": np.array(DOCUMENTS, dtype=np.dtypes.StringDType()),
    "pandas": pd.Series(DOCUMENTS),
    "pandas, objects": pd.Series(DOCUMENTS, dtype=object),
    "pandas, another index": pd.Series(DOCUMENTS, index=[9, 7, 5, 3, 1]),
    "pandas, pyarrow": pd.Series(DOCUMENTS, dtype=pd.ArrowDtype(pa.string())),
    "pandas, categories": pd.Series(DOCUMENTS, dtype="category"),
    "pandas index": pd.Index(DOCUMENTS),
    "polars": pl.Series(DOCUMENTS),
    "polars, categories": pl.Series(DOCUMENTS, dtype=pl.Categorical),
    "arrow": pa.array(DOCUMENTS),
    "arrow, large": pa.array(DOCUMENTS, pa.large_string()),
    "arrow, views": pa.array(DOCUMENTS, pa.string_view()),
    "arrow, dictionary": pa.array(DOCUMENTS).dictionary_encode(),
    "arrow, chunks": pa.chunked_array([DOCUMENTS[:2], [], DOCUMENTS[2:]]),
    "arrow, a slice": pa.array(["before", *DOCUMENTS, "after"]).slice(1, len(DOCUMENTS)),
    "capsule of an array": OneArray(pa.array(DOCUMENTS), "__arrow_c_array__"),
    "capsule of a stream": Stream(pa.chunked_array([DOCUMENTS[:2], DOCUMENTS[2:]]), "__arrow_c_stream__"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_any_column_gives_the_same(model: crossrank.CrossEncoder, name: str) -> None:
    expected = model.rank(QUERY, DOCUMENTS, return_documents=True)
    ranking = model.rank(QUERY, COLUMNS[name], return_documents=True)
    assert ranking == expected and all(isinstance(result["text"], str) for result in ranking)
    scores = model.predict_columns(pa.array([QUERY] * len(DOCUMENTS)), COLUMNS[name])
    assert scores.tolist() == model.predict([(QUERY, document) for document in DOCUMENTS]).tolist()


def test_pairs_of_columns(model: crossrank.CrossEncoder) -> None:
    frame = pd.DataFrame({"query": [QUERY] * len(DOCUMENTS), "text": DOCUMENTS})
    expected = model.predict([(QUERY, document) for document in DOCUMENTS]).tolist()
    assert model.predict(frame[["query", "text"]].to_numpy()).tolist() == expected
    assert model.predict(zip(frame["query"], frame["text"])).tolist() == expected
    assert model.predict_columns(frame["query"], frame["text"]).tolist() == expected


def test_no_rows(model: crossrank.CrossEncoder) -> None:
    for empty in (pa.array([], pa.string()), pa.chunked_array([], pa.string()), pa.nulls(0), pl.Series([], dtype=pl.String)):
        assert model.rank(QUERY, empty) == []
        assert model.predict_columns(empty, empty).shape == (0,)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["a", None, "c"]), "documents: row 1: expected a string, found null"),
        (pa.chunked_array([["a", "b"], ["c", None]]), "documents: row 3: expected a string, found null"),
        (pa.array(["a", None]).dictionary_encode(), "documents: row 1: "),
        (pl.Series(["a", "b", None]), "documents: row 2: "),
        (pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string())), "documents: row 1: "),
        (pd.Series(["a", float("nan")], dtype=object), r"documents\[1\]: expected a string, found float \(nan\)"),
        (pd.Series(["a", None], dtype=object), r"documents\[1\]: expected a string, found None"),
        (pd.Series(["a", pd.NA], dtype=object), r"documents\[1\]: expected a string, found NAType"),
        (pa.array([1, 2]), "documents: expected a column of strings, found Int64"),
        (pa.array([b"a"]), "documents: expected a column of strings, found Binary"),
        (pa.array([["a"]]), "documents: expected a column of strings, found List"),
        (pa.table({"a": ["x"]}), "documents: expected a column of strings, found Struct"),
        (pl.DataFrame({"a": ["x"]}), "documents: expected a column of strings, found Struct"),
        (np.array([1.5]), r"documents\[0\]: expected a string, found float64"),
        (np.array([["a", "b"]]), r"documents\[0\]: expected a string, found ndarray"),
        (np.array(5), "documents: expected a sequence of strings, found ndarray"),
        (["a", None], r"documents\[1\]: expected a string, found None"),
        (["a", 3], r"documents\[1\]: expected a string, found int \(3\)"),
        (["a", b"b"], r"documents\[1\]: expected a string, found bytes"),
        (["a", ["b"]], r"documents\[1\]: expected a string, found list"),
        ([{"text": "a"}], r"documents\[0\]: expected a string, found dict"),
        ("text", "documents: expected a sequence of strings, found str"),
        (b"text", "documents: expected a sequence of strings, found bytes"),
        ({"a": "b"}, "documents: expected a sequence of strings, found dict"),
        ({"a", "b"}, "documents: expected a sequence of strings, found set"),
        (None, "documents: expected a sequence of strings, found None"),
        (3, r"documents: expected a sequence of strings, found int \(3\)"),
        (["a", "b \ud83d"], r"documents\[1\]: expected text, found half of a surrogate pair"),
    ],
)
def test_what_is_no_column_of_texts_is_named(model: crossrank.CrossEncoder, column: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        model.rank(QUERY, column)
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, ValueError)
    with pytest.raises(InputError, match=message):
        model.predict_columns([QUERY] * 2, column)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "inputs: expected a sequence of pairs of strings, found None"),
        ("text", "inputs: expected a sequence of pairs of strings, found str"),
        ([None], r"inputs\[0\]"),
        ([(QUERY, "a"), None], r"inputs\[1\]: expected a pair of strings, found None"),
        ([(QUERY, "a"), "ab"], r"inputs\[1\]: expected a pair of strings, found str"),
        ([(QUERY, "a"), {"a": 1, "b": 2}], r"inputs\[1\]: expected a pair of strings, found dict"),
        ([(QUERY, None)], r"inputs\[0\]\[1\]: expected a string, found None"),
        ([(None, "a")], r"inputs\[0\]\[0\]: expected a string, found None"),
        ([(QUERY, 1.5)], r"inputs\[0\]\[1\]: expected a string, found float \(1.5\)"),
        ([(QUERY, ["a"])], r"inputs\[0\]\[1\]: expected a string, found list"),
        ([(QUERY,)], r"inputs\[0\]: expected a pair of strings, found 1 text"),
        ([(QUERY, "a", "b")], r"inputs\[0\]: expected a pair of strings, found 3 texts"),
        ([()], r"inputs\[0\]: expected a pair of strings, found 0 texts"),
        ([(QUERY, "\udc80")], r"inputs\[0\]\[1\]: expected text, found half of a surrogate pair"),
        ((QUERY, 3), r"inputs\[0\]\[1\]: expected a string, found int"),
        (np.array([["a", "b", "c"]]), r"inputs\[0\]: expected a pair of strings, found 3 texts"),
    ],
)
def test_what_is_no_pair_is_named(model: crossrank.CrossEncoder, inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.predict(inputs)


@pytest.mark.parametrize("query", [None, 3, b"a", ["a"], "\ud800"])
def test_a_query_is_one_text(model: crossrank.CrossEncoder, query: Any) -> None:
    with pytest.raises(InputError, match="^query: expected"):
        model.rank(query, DOCUMENTS)


def test_columns_of_unequal_length(model: crossrank.CrossEncoder) -> None:
    with pytest.raises(ValueError, match="as many queries as documents, found 1 and 5"):
        model.predict_columns([QUERY], DOCUMENTS)


def test_broken_memory_is_an_error(model: crossrank.CrossEncoder) -> None:
    offsets = pa.py_buffer(np.array([0, 2, 4], dtype=np.int32).tobytes())
    broken = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"ab\xff\xfe"))
    with pytest.raises(InputError, match="documents: expected valid Arrow memory"):
        model.rank(QUERY, broken)


def test_an_iterable_that_fails_says_so_itself(model: crossrank.CrossEncoder) -> None:
    def texts() -> Any:
        yield "a"
        raise OSError("the file ends")

    with pytest.raises(OSError, match="the file ends"):
        model.rank(QUERY, texts())


def test_a_list_that_changes_while_it_is_scored(model: crossrank.CrossEncoder) -> None:
    class Shrinking(list[str]):
        def __getitem__(self, index: Any) -> Any:
            raise AssertionError("not asked")

    assert model.rank(QUERY, Shrinking(DOCUMENTS)) == model.rank(QUERY, DOCUMENTS)


def test_subclasses_of_str(model: crossrank.CrossEncoder) -> None:
    class Text(str):
        pass

    ranking = model.rank(Text(QUERY), [Text(document) for document in DOCUMENTS], return_documents=True)
    assert ranking == model.rank(QUERY, DOCUMENTS, return_documents=True)
    assert type(ranking[0]["text"]) is Text

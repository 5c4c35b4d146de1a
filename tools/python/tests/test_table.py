"""crossrank.table: a table of pairs, scored in one process."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from crossrank import CrossEncoder, table

FIXTURES = Path(__file__).resolve().parents[3] / "tests" / "fixtures"
MODEL = str(FIXTURES / "gelu-60")

TEXTS = ["", "Bread is baked.", "The sky is blue 😀.", None, "Dry air lets the heat escape."]


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    return CrossEncoder(MODEL)


def given(texts: list[Any] = TEXTS, kind: Any = None) -> Any:
    count = len(texts)
    return pa.table(
        {
            "row": pa.array(range(10, 10 + count), pa.int64()),
            "query_id": [f"q{i // 2}" for i in range(count)],
            "query": pa.array(["Why is the sky blue?"] * count, kind or pa.string()),
            "document_id": [f"d{i}" for i in range(count)],
            "document": pa.array(texts, kind or pa.string()),
        }
    )


def test_scores_are_those_of_predict_and_other_columns_stay(model: CrossEncoder) -> None:
    texts = [text for text in TEXTS if text is not None]
    pairs = given(texts)
    result = table.rerank(pairs, model)
    assert result.column_names == [*pairs.column_names, "score", "scored"]
    assert result.select(pairs.column_names).equals(pairs)
    assert result.schema.field("score").type == pa.float32()
    assert result["scored"].to_pylist() == [True] * 4
    expected = model.predict([("Why is the sky blue?", text) for text in texts])
    assert np.array_equal(result["score"].to_numpy().view("uint32"), expected.view("uint32"))


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_every_kind_of_text_column(model: CrossEncoder, kind: pa.DataType) -> None:
    texts = ["a sky", "b", "a sky"]
    pairs = given(texts).set_column(4, "document", pa.array(texts).cast(kind))
    assert table.rerank(pairs, model)["score"].equals(table.rerank(given(texts), model)["score"])


def test_chunks_slices_and_record_batches_change_nothing(model: CrossEncoder) -> None:
    texts = [f"The sky is {word}." for word in ("blue", "dry", "cold", "hot", "😀", "", "x")]
    whole = table.rerank(given(texts), model)
    chunks = pa.concat_tables([given(texts).slice(at, size) for at, size in ((0, 3), (3, 0), (3, 4))])
    assert table.rerank(chunks, model).equals(whole)
    assert table.rerank(given(texts).slice(2, 3), model).equals(whole.slice(2, 3))
    assert table.rerank(given(texts).combine_chunks().to_batches()[0], model).equals(whole)
    assert table.rerank(given([]), model).num_rows == 0


def test_pandas_with_its_nulls(model: CrossEncoder) -> None:
    frame = given().to_pandas()
    result = table.rerank(frame, model, nulls="skip")
    # pandas 3 hands its strings over as large ones.
    assert result.to_pylist() == table.rerank(given(), model, nulls="skip").to_pylist()
    for null in (None, float("nan"), pd.NA):
        odd = frame.assign(document=pd.Series(["a", null, "b", "c", "d"], dtype=object))
        with pytest.raises(ValueError, match="row 11, query_id 'q0', document_id 'd1': column 'document'"):
            table.rerank(odd, model)


def test_a_null_is_an_error_that_names_its_row_or_an_unscored_row(model: CrossEncoder) -> None:
    with pytest.raises(ValueError, match="row 13, query_id 'q1', document_id 'd3': column 'document'.*found null"):
        table.rerank(given(), model)
    with pytest.raises(ValueError, match="index 3: column 'document': expected text, found null"):
        table.rerank(given(), model, row=None, query_id=None, document_id=None)
    result = table.rerank(given(), model, nulls="skip")
    assert result["scored"].to_pylist() == [True, True, True, False, True]
    assert result["score"].is_null().to_pylist() == [False, False, False, True, False]
    rest = [text for text in TEXTS if text is not None]
    assert result["score"].drop_null().to_pylist() == table.rerank(given(rest), model)["score"].to_pylist()
    nothing = given().set_column(4, "document", pa.nulls(5))
    assert table.rerank(nothing, model, nulls="skip")["score"].to_pylist() == [None] * 5


def test_columns_are_checked_by_name(model: CrossEncoder) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"query": "q"}, "query: expected a column 'q', found 'row', 'query_id', 'query', 'document_id', 'document'"),
        ({"row": "r"}, r"row: expected a column 'r' \(row=None does without\), found 'row'"),
        ({"keep": ["row", "x"]}, "keep: expected a column 'x', found"),
        ({"score": "query"}, "score: expected a name that is not taken, found 'query' among"),
        ({"score": "scored"}, "score, scored: expected two names, found 'scored' twice"),
        ({"nulls": "nan"}, "nulls: expected \"error\" or \"skip\", found 'nan'"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            table.rerank(given(), model, **arguments)
    with pytest.raises(TypeError, match="column 'row': expected text, found int64"):
        table.rerank(given(), model, document="row")
    with pytest.raises(TypeError, match="table: expected an Arrow table or a pandas DataFrame, found list"):
        table.rerank([], model)
    kept = table.rerank(given(), model, nulls="skip", keep=["document_id", "row"], score="s", scored="done")
    assert kept.column_names == ["document_id", "row", "s", "done"]
    assert table.rerank(kept.append_column("query", given()["query"]).append_column("document", given()["query"]),
                        model, query_id=None).num_rows == 5  # fmt: skip


def test_a_model_of_several_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="model: expected one with one label, found one with 3"):
        table.rerank(given(["a"]), str(FIXTURES / "relu-3-labels"))

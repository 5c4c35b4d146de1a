"""crossrank.trec: runs that every evaluation tool ranks alike."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from crossrank import trec


def result(scores: Any, queries: Any = None, documents: Any = None, **columns: Any) -> dict[str, Any]:
    count = len(scores)
    return {
        "row": list(range(count)),
        "query_id": queries or ["q"] * count,
        "document_id": documents or [f"d{i}" for i in range(count)],
        "score": scores,
        "scored": [True] * count,
        **columns,
    }


def run(given: Any, **arguments: Any) -> str:
    out = io.StringIO()
    lines = trec.write_run(given, out, **arguments)
    assert out.getvalue().count("\n") == lines
    return out.getvalue()


def scores_of(text: str) -> list[Any]:
    return [np.float32(float(line.split()[4])) for line in text.splitlines()]


def test_six_columns_best_first_queries_by_their_first_row() -> None:
    given = result([0.5, 1.5, -2.0, 0.25], ["b", "b", "a", "b"], ["x", "y", "x", "😀"])
    assert run(given, tag="t") == "b Q0 y 1 1.5 t\nb Q0 x 2 0.5 t\nb Q0 😀 3 0.25 t\na Q0 x 1 -2.0 t\n"


def test_the_order_of_rows_does_not_matter() -> None:
    given = pd.DataFrame(result([0.5, 0.5, 0.5, 0.25], [1, 1, 2, 2]))
    expected = run(given)
    assert expected.splitlines()[0].split()[:4] == ["1", "Q0", "d0", "1"]
    for seed in range(5):
        shuffled = given.sample(frac=1, random_state=seed)
        assert run(shuffled) == expected
        assert run(pa.Table.from_pandas(shuffled, preserve_index=False)) == expected


@pytest.mark.parametrize(
    "scores",
    [
        [1.0, 1.0, 1.0],
        [0.0, -0.0, 0.0],
        [1e-45, 1e-45, 0.0],
        [np.finfo(np.float32).max] * 3,
        [np.finfo(np.float32).min] * 3,
        [0.0, np.finfo(np.float32).min, np.finfo(np.float32).min],
        # Equal as 32-bit floats, not as 64-bit floats.
        [0.500000001, 0.5, 0.499999999],
        [0.1, 1e-7, 1.5e20, 123456.7, 3.4e-39],
    ],
    ids=str,
)
def test_scores_fall_strictly_as_floats_read_back(scores: Any) -> None:
    given = result(scores)
    text = run(given)
    read = scores_of(text)
    assert all(before > after for before, after in zip(read, read[1:]))
    assert all(np.isfinite(read))
    order = [line.split()[2] for line in text.splitlines()]
    floats = np.asarray(scores, np.float32)
    assert order == [f"d{i}" for i in np.argsort(-floats, kind="stable")]


def test_scores_that_fall_are_written_with_all_their_bits() -> None:
    rng = np.random.default_rng(7)
    scores = np.unique(rng.standard_normal(2000).astype(np.float32) * np.float32(10) ** rng.integers(-30, 30, 2000))
    given = result(scores.astype(np.float32).tolist())
    assert np.array_equal(np.sort(np.array(scores_of(run(given)), np.float32)), np.sort(scores.astype(np.float32)))


def test_texts_of_scores() -> None:
    given = result([1.0, 0.49999997, 1e-5, 9.5e-6, 1e16, 0.1, -0.0])
    texts = [line.split()[4] for line in run(given).splitlines()]
    assert texts == ["1e16", "1.0", "0.49999997", "0.1", "0.00001", "9.5e-6", "0.0"]


def test_unscored_rows_and_no_rows_are_left_out(tmp_path: Path) -> None:
    given = result([0.5, float("nan"), 0.25], scored=[True, False, True])
    assert [line.split()[2:4] for line in run(given).splitlines()] == [["d0", "1"], ["d2", "2"]]
    # Of Ray's `to_pandas`: columns of Arrow's types, whose null is pandas' NA.
    arrow = pa.table({**given, "score": pa.array([0.5, None, 0.25], pa.float32())}).to_pandas(types_mapper=pd.ArrowDtype)
    assert run(arrow) == run(given)
    with pytest.raises(ValueError, match="row 1: column 'score': expected a finite number, found <NA>"):
        run(arrow, scored=None)
    assert run(result([])) == ""
    assert trec.write_run(pd.DataFrame(), tmp_path / "run") == 0
    assert (tmp_path / "run").read_bytes() == b""


def test_other_names_and_no_optional_columns() -> None:
    given = pa.table({"q": [7, 7], "d": [1, 2], "s": pa.array([0.5, 2.0], pa.float32())})
    assert run(given, query_id="q", document_id="d", score="s", row=None, scored=None) == (
        "7 Q0 2 1 2.0 crossrank\n7 Q0 1 2 0.5 crossrank\n"
    )


@pytest.mark.parametrize(
    "given, message",
    [
        (result([1.0], ["a b"]), "row 0: query: expected no white space or control characters, found 'a b'"),
        (result([1.0], ["#a"]), "row 0: query: expected an id that does not begin as a comment, found '#a'"),
        (result([1.0], [""]), "row 0: query: expected no white space"),
        (result([1.0], ["\x1f"]), "row 0: query: expected no white space or control"),
        (result([1.0], documents=["a\u3000"]), "row 0: document: expected no white space"),
        (result([1.0, 2.0], documents=["a", "a"]), "row 1: expected a document that query 'q' has not yet, found 'a'"),
        (result([float("nan")]), "row 0: column 'score': expected a finite number, found nan"),
        (result([None]), "row 0: column 'score': expected a finite number, found None"),
        (result([float("inf")]), "row 0: column 'score': expected a finite number, found inf"),
        (result([1e39]), r"row 0: column 'score': expected a finite number, found 1e\+39"),
        (result([1.0], [None]), "row 0: column 'query_id': expected an id, a text or a whole number, found None"),
        (result([1.0], [1.5]), "row 0: column 'query_id': expected an id"),
        (result([1.0], scored=[None]), "row 0: column 'scored': expected true or false, found null"),
        (result([1.0], row=[None]), "row: column 'row': expected a value in each row"),
        (result([1.0, 2.0], row=[1, "a"]), "row: column 'row': expected values of one type"),
        ({"row": [1]}, "query_id: expected a column 'query_id'.*, found 'row'"),
    ],
)
def test_what_a_run_cannot_hold_is_an_error_and_leaves_the_file_alone(given: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("before")
    with pytest.raises(ValueError, match=message):
        trec.write_run(given, file)
    assert file.read_text() == "before"


def test_tags_and_results_of_other_types() -> None:
    with pytest.raises(ValueError, match="tag: expected no white space"):
        run(result([1.0]), tag="a tag")
    others: list[Any] = [[], "text", None]
    for other in others:
        with pytest.raises(TypeError, match="result: expected an Arrow table, a pandas DataFrame or a mapping"):
            run(other)

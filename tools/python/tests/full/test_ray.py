"""crossrank.ray on a real local cluster: the result is one process's, however rows are split and workers die."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import needs
import pytest

needs.package("ray.data", "ray")

import pandas as pd  # noqa: E402
import pairs  # noqa: E402
import pyarrow as pa  # noqa: E402
import ray  # noqa: E402
from needs import MODEL, OTHER_MODEL  # noqa: E402

from crossrank import CrossEncoder, table, trec  # noqa: E402
from crossrank.ray import rerank  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="ray")
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def collected(dataset: Any) -> pa.Table:
    return pa.concat_tables(ray.get(dataset.to_arrow_refs())).sort_by("row")


def bits(result: pa.Table) -> Any:
    return result["score"].to_numpy().view("uint32").tolist()


def run_of(result: Any, path: Path) -> bytes:
    trec.write_run(result, path)
    return path.read_bytes()


def message(error: Any) -> str:
    """All that a user sees: Ray puts the worker's error into its own's text."""
    return str(error.value)


def test_it_listens_on_this_machine_alone() -> None:
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]


@pytest.mark.parametrize("blocks, batch, workers", [(1, 1024, 1), (7, 16, 3), (40, 1000, (1, 2)), (3, 64, None)])
def test_every_column_equals_one_process(blocks: int, batch: int, workers: Any, tmp_path: Path) -> None:
    given = pairs.pairs()
    single = pairs.expected(given)
    dataset = rerank(
        ray.data.from_arrow(given).repartition(blocks), MODEL, workers=workers, batch_size=batch
    )
    result = collected(dataset)
    assert result.schema == single.schema
    assert result.equals(single)
    assert bits(result) == bits(single)
    # The writer needs no order of rows.
    assert run_of(dataset.to_pandas(), tmp_path / "ray") == run_of(single, tmp_path / "single")


def test_a_worker_killed_midway_changes_nothing(tmp_path: Path) -> None:
    given = pairs.pairs()
    single = pairs.expected(given, options={"activation_fn": pairs.unchanged})
    options = {"activation_fn": pairs.dies_once(str(tmp_path))}
    dataset = ray.data.from_arrow(given).repartition(8)
    result = collected(rerank(dataset, MODEL, workers=2, batch_size=16, options=options))
    assert (tmp_path / "died").exists()
    assert result.equals(single)
    assert run_of(result, tmp_path / "ray") == run_of(single, tmp_path / "single")


def test_restarts_are_finite_and_the_error_names_the_batch() -> None:
    def dies(scores: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    given = pairs.pairs().slice(100)
    dataset = rerank(
        ray.data.from_arrow(given), MODEL, workers=1, batch_size=50, restarts=1, options={"activation_fn": dies}
    )
    with pytest.raises(ray.exceptions.RayError) as error:
        dataset.materialize()
    assert "a worker died 2 times" in message(error)
    assert "begins at row 100, query_id 'q4', document_id 'd0'" in message(error)


def test_a_batch_that_raises_ends_the_job_with_its_first_row() -> None:
    def raises(scores: Any) -> None:
        raise ValueError("no such activation")

    dataset = rerank(ray.data.from_arrow(pairs.pairs()), MODEL, workers=1, options={"activation_fn": raises})
    with pytest.raises(ray.exceptions.RayError) as error:
        dataset.materialize()
    assert "begins at row 0, query_id 'q0', document_id 'd0': no such activation" in message(error)


def test_null_text_is_an_error_that_names_the_row_or_is_left_unscored(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "row": [5, 6, 7, 8],
            "query_id": ["a", "a", "b", "b"],
            "document_id": ["1", "2", "1", "2"],
            "query": ["sky", "sky", None, "air"],
            "document": ["blue", float("nan"), "dry", "heat"],
        }
    )
    dataset = ray.data.from_pandas(frame)
    with pytest.raises(ray.exceptions.RayError) as error:
        rerank(dataset, MODEL, workers=1).materialize()
    assert "row 6, query_id 'a', document_id '2': column 'document': expected text, found null" in message(error)
    result = collected(rerank(dataset, MODEL, workers=1, nulls="skip"))
    assert result["scored"].to_pylist() == [True, False, False, True]
    assert result["score"].is_null().to_pylist() == [False, True, True, False]
    assert not result["score"].drop_null().to_numpy().astype(str).tolist().count("nan")
    assert result["score"].equals(table.rerank(frame, MODEL, nulls="skip")["score"])
    trec.write_run(result, tmp_path / "run")
    assert [line.split()[:3:2] for line in (tmp_path / "run").read_text().splitlines()] == [["a", "1"], ["b", "2"]]


def test_empty_one_row_and_a_million_characters(tmp_path: Path) -> None:
    given = pairs.pairs()
    # Ray drops the schema of a result without rows.
    empty = rerank(ray.data.from_arrow(given.slice(0, 0)), MODEL, workers=1).to_pandas()
    assert len(empty) == 0
    assert trec.write_run(empty, tmp_path / "run") == 0
    one = given.slice(7, 1)
    assert collected(rerank(ray.data.from_arrow(one), MODEL, workers=1)).equals(pairs.expected(one))
    long = one.set_column(4, "document", pa.array(["😀 sky " * 170_000]))
    assert len(long["document"][0].as_py()) > 1_000_000
    assert collected(rerank(ray.data.from_arrow(long), MODEL, workers=1)).equals(pairs.expected(long))


def test_batches_are_not_written_into() -> None:
    given = pairs.pairs()
    before = given.to_pylist()
    dataset = ray.data.from_arrow(given)
    rerank(dataset, MODEL, workers=1).materialize()
    assert given.to_pylist() == before
    assert collected(dataset).equals(given)


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    given = pairs.pairs()
    for name, argument in [("document", "document"), ("row", "row"), ("query_id", "query_id")]:
        with pytest.raises(ValueError, match=f"{argument}: expected a column '{name}'.*found .*'extra'"):
            rerank(ray.data.from_arrow(given.drop_columns([name])), MODEL)
    # Where the schema is not known before the dataset runs, the workers say so.
    unknown = ray.data.from_arrow(given).map_batches(lambda batch: batch.drop_columns(["document"]), batch_format="pyarrow")
    with pytest.raises((ray.exceptions.RayError, ValueError)) as error:
        rerank(unknown, MODEL, workers=1).materialize()
    assert "document: expected a column 'document'" in message(error)
    with pytest.raises(ValueError, match="score: expected a name that is not taken, found 'extra'"):
        rerank(ray.data.from_arrow(given), MODEL, score="extra")


def test_a_model_that_is_not_on_the_worker_is_named() -> None:
    dataset = rerank(ray.data.from_arrow(pairs.pairs()), "/no/such/model", workers=1)
    with pytest.raises(ray.exceptions.RayError) as error:
        dataset.materialize()
    assert "a worker cannot load its model" in message(error)
    assert "/no/such/model" in message(error)


def test_two_models_one_after_the_other_and_other_names() -> None:
    given = pairs.pairs(3, 10)
    first = rerank(ray.data.from_arrow(given), MODEL, workers=1, score="first", scored="first_scored")
    both = collected(rerank(first, OTHER_MODEL, workers=1, keep=["row", "first"], options={"activation_fn": "identity"}))
    assert both.column_names == ["row", "first", "score", "scored"]
    assert both["first"].equals(pairs.expected(given)["score"])
    other = table.rerank(given, OTHER_MODEL, options={"activation_fn": "identity"})
    assert both["score"].equals(other["score"])
    plain = given.select(["query", "document"]).rename_columns(["q", "d"])
    named = rerank(
        ray.data.from_arrow(plain), MODEL, query="q", document="d", query_id=None, document_id=None, row=None, workers=1
    )
    assert named.to_pandas()["score"].tolist() == pairs.expected(given)["score"].to_pylist()


def test_arguments_are_checked_before_anything_runs() -> None:
    dataset = ray.data.from_arrow(pairs.pairs())
    cases: list[tuple[type[Exception], dict[str, Any]]] = [
        (TypeError, {"model": CrossEncoder(MODEL)}),
        (ValueError, {"restarts": -1}),
        (ValueError, {"threads": 0}),
        (TypeError, {"batch_size": None}),
        (ValueError, {"workers": 0}),
        (ValueError, {"workers": (2, 1)}),
        (ValueError, {"nulls": "nan"}),
        (ValueError, {"score": "x", "scored": "x"}),
    ]
    for error, arguments in cases:
        with pytest.raises(error):
            rerank(dataset, **arguments)

"""crossrank.spark on a real local Spark: the result is one process's, however rows are split and workers die."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import needs
import pytest

needs.package("pyspark", "spark")
needs.program("java", "spark", "Spark 4.3 runs on Java 17 or 21; Debian: apt-get install openjdk-17-jre-headless")

import pandas as pd  # noqa: E402
import pairs  # noqa: E402
import pyarrow as pa  # noqa: E402
from needs import MODEL, OTHER_MODEL  # noqa: E402
from pyspark.errors import PythonException  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402

from crossrank import CrossEncoder, table, trec  # noqa: E402
from crossrank.spark import rerank  # noqa: E402


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    # Two tasks at a time; with the second number a task is tried again, four times in all, when its worker dies.
    builder = SparkSession.builder.master("local[2,4]")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "17",
        "spark.sql.shuffle.partitions": "4",
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def collected(frame: Any) -> pa.Table:
    return frame.toArrow().sort_by("row")


def bits(result: pa.Table) -> Any:
    return result["score"].to_numpy().view("uint32").tolist()


def run_of(result: Any, path: Path) -> bytes:
    trec.write_run(result, path)
    return path.read_bytes()


@pytest.mark.parametrize("partitions", [1, 3, 40])
def test_every_column_equals_one_process(spark: Any, partitions: int, tmp_path: Path) -> None:
    given = pairs.pairs()
    single = pairs.expected(given)
    frame = rerank(spark.createDataFrame(given).repartition(partitions), MODEL)
    result = collected(frame)
    assert result.schema == single.schema
    assert result.equals(single)
    assert bits(result) == bits(single)
    # The writer needs no order of rows.
    assert run_of(frame.toPandas(), tmp_path / "spark") == run_of(single, tmp_path / "single")


def test_a_worker_killed_midway_changes_nothing(spark: Any, tmp_path: Path) -> None:
    given = pairs.pairs()
    single = pairs.expected(given, options={"activation_fn": pairs.unchanged})
    options = {"activation_fn": pairs.dies_once(str(tmp_path))}
    result = collected(rerank(spark.createDataFrame(given).repartition(6), MODEL, options=options))
    assert (tmp_path / "died").exists()
    assert result.equals(single)
    assert run_of(result, tmp_path / "spark") == run_of(single, tmp_path / "single")


def test_a_batch_that_raises_names_its_first_row(spark: Any) -> None:
    def raises(scores: Any) -> None:
        raise ValueError("no such activation")

    frame = rerank(spark.createDataFrame(pairs.pairs()).coalesce(1), MODEL, options={"activation_fn": raises})
    with pytest.raises(PythonException, match="begins at row 0, query_id 'q0', document_id 'd0': no such activation"):
        frame.collect()


def test_null_text_is_an_error_that_names_the_row_or_is_left_unscored(spark: Any, tmp_path: Path) -> None:
    given = pd.DataFrame(
        {
            "row": [5, 6, 7, 8],
            "query_id": ["a", "a", "b", "b"],
            "document_id": ["1", "2", "1", "2"],
            "query": ["sky", "sky", "dry", "air"],
            "document": ["blue", float("nan"), None, "heat"],
        }
    )
    frame = spark.createDataFrame(given).coalesce(1)
    with pytest.raises(PythonException, match="row 6, query_id 'a', document_id '2': column 'document': expected text"):
        rerank(frame, MODEL).collect()
    scored = rerank(frame, MODEL, nulls="skip")
    result = collected(scored)
    assert result["scored"].to_pylist() == [True, False, False, True]
    assert result["score"].is_null().to_pylist() == [False, True, True, False]
    assert result["score"].equals(table.rerank(given, MODEL, nulls="skip")["score"])
    assert scored.filter("isnan(score)").count() == 0
    assert trec.write_run(result, tmp_path / "run") == 2


def test_columns_stay_where_the_schema_has_them(spark: Any) -> None:
    frame = spark.createDataFrame(pairs.pairs(2, 5))
    turned = rerank(frame.select("extra", "document", "row", "document_id", "query_id", "query"), MODEL)
    assert turned.columns == ["extra", "document", "row", "document_id", "query_id", "query", "score", "scored"]
    assert [field.dataType.simpleString() for field in turned.schema][-2:] == ["float", "boolean"]
    single = pairs.expected(pairs.pairs(2, 5))
    assert collected(turned).select(single.column_names).equals(single)
    kept = collected(rerank(frame, MODEL, keep=["document_id", "row"]))
    assert kept.equals(single.select(["document_id", "row", "score", "scored"]))


def test_empty_one_row_and_a_million_characters(spark: Any, tmp_path: Path) -> None:
    given = pairs.pairs()
    empty = rerank(spark.createDataFrame(given).limit(0), MODEL).toArrow()
    assert empty.num_rows == 0
    assert empty.column_names == [*given.column_names, "score", "scored"]
    assert trec.write_run(empty, tmp_path / "run") == 0
    one = given.slice(7, 1)
    assert collected(rerank(spark.createDataFrame(one), MODEL)).equals(pairs.expected(one))
    long = one.set_column(4, "document", pa.array(["😀 sky " * 170_000]))
    assert collected(rerank(spark.createDataFrame(long), MODEL)).equals(pairs.expected(long))


def test_a_missing_column_is_named_with_those_that_are_there(spark: Any) -> None:
    frame = spark.createDataFrame(pairs.pairs(1, 2))
    for name in ["document", "row", "query_id"]:
        with pytest.raises(ValueError, match=f"{name}: expected a column '{name}'.*found .*'extra'"):
            rerank(frame.drop(name), MODEL)
    with pytest.raises(ValueError, match="score: expected a name that is not taken, found 'extra'"):
        rerank(frame, MODEL, score="extra")
    with pytest.raises(ValueError, match="query: expected one column 'query', found several"):
        rerank(frame.select("*", "query"), MODEL)
    with pytest.raises(TypeError, match="column 'extra': expected text, found double"):
        rerank(frame, MODEL, document="extra")
    with pytest.raises(TypeError, match="model: expected a name or path"):
        rerank(frame, CrossEncoder(MODEL))  # type: ignore[arg-type]


def test_a_model_that_is_not_on_the_worker_is_named(spark: Any) -> None:
    with pytest.raises(PythonException, match="/no/such/model"):
        rerank(spark.createDataFrame(pairs.pairs(1, 2)), "/no/such/model").collect()


def test_two_models_one_after_the_other(spark: Any) -> None:
    given = pairs.pairs(3, 10)
    options = {"activation_fn": "identity"}
    first = rerank(spark.createDataFrame(given), MODEL, score="first", scored="first_scored")
    both = collected(rerank(first, OTHER_MODEL, options=options))
    assert both["first"].equals(pairs.expected(given)["score"])
    assert both["score"].equals(table.rerank(given, OTHER_MODEL, options=options)["score"])

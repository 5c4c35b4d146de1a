"""Rankings: order, options, long documents, several models."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from conftest import DOCUMENTS, FIXTURES, QUERY

import crossrank


def test_results_are_plain_and_ordered(model: crossrank.CrossEncoder) -> None:
    ranking = model.rank(QUERY, DOCUMENTS)
    assert [type(value) for value in ranking[0].values()] == [int, float]
    assert json.loads(json.dumps(ranking)) == ranking
    scores = model.predict([(QUERY, document) for document in DOCUMENTS])
    assert [(result["corpus_id"], result["score"]) for result in ranking] == [
        (int(i), float(scores[i])) for i in np.argsort(-scores, kind="stable")
    ]


def test_saturated_scores_stay_in_the_order_of_their_logits(model: crossrank.CrossEncoder) -> None:
    by_logit = [result["corpus_id"] for result in model.rank(QUERY, DOCUMENTS, activation_fn="identity")]
    by_one = model.rank(QUERY, DOCUMENTS, activation_fn=lambda logits: np.ones_like(logits))
    assert [result["corpus_id"] for result in by_one] == by_logit
    assert {result["score"] for result in by_one} == {1.0} and type(by_one[0]["score"]) is float
    by_softmax = model.rank(QUERY, DOCUMENTS, activation_fn="softmax")
    assert [result["corpus_id"] for result in by_softmax] == by_logit


def test_equal_texts_are_ranked_by_index(model: crossrank.CrossEncoder) -> None:
    ranking = model.rank(QUERY, ["the sea"] * 4)
    assert [result["corpus_id"] for result in ranking] == [0, 1, 2, 3]


def test_options_choose_and_add(model: crossrank.CrossEncoder) -> None:
    ranking = model.rank(QUERY, DOCUMENTS)
    assert model.rank(QUERY, DOCUMENTS, top_k=2) == ranking[:2]
    assert model.rank(QUERY, DOCUMENTS, top_k=0) == []
    least = ranking[2]["score"]
    assert model.rank(QUERY, DOCUMENTS, min_score=least) == ranking[:3]
    assert model.rank(QUERY, DOCUMENTS, min_score=2) == []
    full = model.rank(QUERY, DOCUMENTS, return_documents=True, return_tokens=True)
    for result, plain in zip(full, ranking):
        assert list(result) == ["corpus_id", "score", "text", "tokens", "truncated"]
        assert result["text"] is DOCUMENTS[plain["corpus_id"]], "the caller's own object"
        assert type(result["tokens"]) is int and result["truncated"] in (True, False)


def test_a_function_is_ranked_by_what_it_gives(model: crossrank.CrossEncoder) -> None:
    logits = {result["corpus_id"]: result["score"] for result in model.rank(QUERY, DOCUMENTS, activation_fn="identity")}
    ranking = model.rank(QUERY, DOCUMENTS, activation_fn=lambda x: -x, top_k=3, min_score=-1e9)
    assert [result["corpus_id"] for result in ranking] == sorted(logits, key=lambda i: logits[i])[:3]
    assert ranking[0]["score"] == -min(logits.values())


def test_the_models_activation_can_be_set(folder: str) -> None:
    encoder = crossrank.CrossEncoder(folder, activation_fn="identity")
    logits = encoder.rank(QUERY, DOCUMENTS)
    encoder.activation_fn = "sigmoid"
    assert encoder.rank(QUERY, DOCUMENTS) != logits == encoder.rank(QUERY, DOCUMENTS, activation_fn="identity")


def test_several_labels_have_no_order(labels: crossrank.CrossEncoder) -> None:
    with pytest.raises(ValueError, match="this one has 3"):
        labels.rank(QUERY, DOCUMENTS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"top_k": -1}, ValueError, "top_k: expected at least 0, found -1"),
        ({"top_k": 1.5}, TypeError, "top_k: expected a whole number, found float"),
        ({"top_k": 1 << 70}, ValueError, "top_k"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1, found 0"),
        ({"batch_size": None}, TypeError, "batch_size: expected a whole number, found None"),
        ({"min_score": "high"}, TypeError, "min_score: expected a number, found str"),
        ({"min_score": float("nan")}, ValueError, "min_score"),
        ({"long": "middle"}, ValueError, "long: expected truncate, max or mean, found \"middle\""),
        ({"long": 3}, TypeError, "long: expected a string, found int"),
        ({"stride": 4}, ValueError, "stride"),
        ({"stride": -1, "long": "max"}, ValueError, "stride: expected at least 0, found -1"),
        ({"stride": 1000, "long": "max"}, ValueError, "stride"),
        ({"cascade": [3]}, TypeError, r"cascade\[0\]: expected a CrossEncoder and a number"),
        ({"cascade": [("model", 3)]}, TypeError, r"cascade\[0\]: expected a CrossEncoder, found str"),
        ({"device": "cuda:1"}, TypeError, "device: crossrank runs on CPUs"),
        ({"no_such": 3}, TypeError, "no_such"),
    ],
)
def test_wrong_options_are_named(
    model: crossrank.CrossEncoder, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.rank(QUERY, DOCUMENTS, **options)


LONG = "The oven is hot, and the bread is in it: ö 👩‍👩‍👧 川. " * 30 + "Rivers go to the sea. " + "Nothing is here. " * 40


def test_long_documents_are_scored_in_passages(model: crossrank.CrossEncoder) -> None:
    cut, *_ = model.rank(QUERY, [LONG], return_tokens=True)
    assert cut["truncated"] and "passage" not in cut
    best, *_ = model.rank(QUERY, [LONG], long="max", return_tokens=True)
    passage = best["passage"]
    assert passage["count"] > 3 and 0 <= passage["index"] < passage["count"] and best["tokens"] > cut["tokens"]
    text = LONG[passage["start"] : passage["end"]]
    assert text and model.rank(QUERY, [text])[0]["score"] == best["score"], "code points lead to what was scored"
    mean = model.rank(QUERY, [LONG], long="mean", stride=8)[0]
    assert mean["score"] < best["score"] and mean["passage"]["count"] >= passage["count"]


def test_models_come_one_after_another(model: crossrank.CrossEncoder, folder: str) -> None:
    fast = crossrank.CrossEncoder(folder, dtype="int8", threads=1)
    kept = {result["corpus_id"] for result in fast.rank(QUERY, DOCUMENTS, top_k=2)}
    ranking = model.rank(QUERY, DOCUMENTS, cascade=[(fast, 2)])
    expected = [result for result in model.rank(QUERY, DOCUMENTS) if result["corpus_id"] in kept]
    assert ranking == expected and len(ranking) == 2
    with pytest.raises(ValueError, match=r"cascade\[0\]: expected at least 1, found 0"):
        model.rank(QUERY, DOCUMENTS, cascade=[(fast, 0)])
    three = crossrank.CrossEncoder(FIXTURES / "relu-3-labels")
    with pytest.raises(ValueError, match="one label"):
        model.rank(QUERY, DOCUMENTS, cascade=[(three, 2)])

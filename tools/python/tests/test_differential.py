"""What sentence-transformers makes of the calls, and what crossrank does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from differential.calls import Call, calls, fake_nn
from differential.outcome import Models
from differential.record import RECORD

import crossrank

LINES = [json.loads(line) for line in RECORD.read_text(encoding="utf-8").splitlines()]
RECORDED = {line["call"]: line for line in LINES[1:]}

#: Of scores and logits: what the engine promises of logits in f32.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Models:
    def load(folder: str, **options: Any) -> Any:
        return crossrank.CrossEncoder(folder, tokenizer="transformers5", dtype="f32", threads=2, **options)

    return Models(load, fake_nn(), tmp_path_factory.mktemp("models"))


def test_the_record_has_every_call() -> None:
    assert [line["call"] for line in LINES[1:]] == [call.name for call in calls()]
    assert len(RECORDED) >= 80
    assert LINES[0]["versions"]["sentence-transformers"] == "6.2.0"


@pytest.mark.parametrize("call", calls(), ids=lambda call: call.name)
def test_it_is_as_recorded(call: Call, ours: Models) -> None:
    compare(call, RECORDED[call.name], ours.outcome(call))


def compare(call: Call, theirs: dict[str, Any], found: dict[str, Any]) -> None:
    """Fails where two outcomes differ, or do not although the table says so."""
    try:
        same(theirs, found)
    except AssertionError:
        if call.differs:
            return
        raise
    assert not call.differs, f"no difference any more: {call.differs}"


def same(theirs: dict[str, Any], found: dict[str, Any]) -> None:
    if "error" in theirs or "error" in found:
        assert "error" in theirs and "error" in found, (theirs, found)
        # A class of its own, or one that is caught as theirs is.
        assert theirs["error"] in [found["error"], *found["is_a"]], (theirs, found)
        return
    for key in ("type", "dtype", "shape"):
        assert theirs.get(key) == found.get(key), (key, theirs, found)
    if "values" in theirs:
        np.testing.assert_allclose(found["values"], theirs["values"], rtol=0, atol=TOLERANCE)
        return
    assert theirs.get("types") == found.get("types")
    assert len(theirs["rows"]) == len(found["rows"])
    # Where scores are equal, theirs are in the order of the input, ours in that of the logits.
    for row in theirs["rows"]:
        own = [other for other in found["rows"] if other["corpus_id"] == row["corpus_id"]]
        assert len(own) == 1 and own[0].keys() == row.keys(), row
        assert abs(own[0]["score"] - row["score"]) <= TOLERANCE and own[0].get("text") == row.get("text"), row
    scores = [row["score"] for row in theirs["rows"]]
    by_place = zip(theirs["rows"], found["rows"])
    for place, (row, other) in enumerate(by_place):
        tied = [score for score in scores if abs(score - scores[place]) <= 1e-6]
        assert row["corpus_id"] == other["corpus_id"] or len(tied) > 1, (row, other)


def test_a_difference_is_found() -> None:
    """The comparison itself: other values, types, shapes and errors fail."""
    call = Call("example", "gelu-60")
    right: dict[str, Any] = {"type": "ndarray", "dtype": "float32", "shape": [1], "values": [0.5]}
    compare(call, right, right)
    error = {"error": "ValueError", "is_a": ["Exception"]}
    for wrong in ({"values": [0.5002]}, {"dtype": "float64"}, {"shape": [1, 1]}, {"type": "list"}, error):
        with pytest.raises(AssertionError):
            compare(call, right, {**right, **wrong})
    with pytest.raises(AssertionError):
        compare(call, error, {"error": "TypeError", "is_a": ["Exception"]})
    compare(call, error, {"error": "InputError", "is_a": ["TypeError", "ValueError", "Exception"]})



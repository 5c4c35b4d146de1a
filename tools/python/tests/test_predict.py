"""Scores of pairs: shapes, types, activations, columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import DOCUMENTS, FIXTURES, QUERY
from differential.calls import fake_nn

import crossrank

PAIRS = [(QUERY, document) for document in DOCUMENTS]


def test_scores_are_float32_in_the_order_of_the_pairs(model: crossrank.CrossEncoder) -> None:
    scores = model.predict(PAIRS)
    assert scores.dtype == np.float32 and scores.shape == (len(PAIRS),)
    assert scores.flags.writeable
    alone = [model.predict(pair) for pair in PAIRS]
    assert all(isinstance(score, np.float32) for score in alone)
    assert scores.tolist() == [float(score) for score in alone], "the same bits in any company"


def test_several_labels_make_rows(labels: crossrank.CrossEncoder) -> None:
    assert labels.num_labels == 3 and len(labels.label_names) == 3
    assert labels.predict(PAIRS).shape == (len(PAIRS), 3)
    assert labels.predict(PAIRS[0]).shape == (3,)
    np.testing.assert_allclose(labels.predict(PAIRS, apply_softmax=True).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "torch.nn.modules.activation.Sigmoid", "Sigmoid"])
def test_activations_have_names(model: crossrank.CrossEncoder, name: str) -> None:
    logits = model.predict(PAIRS, activation_fn="identity").astype(np.float64)
    np.testing.assert_allclose(model.predict(PAIRS, activation_fn=name), 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_softmax_is_of_labels(model: crossrank.CrossEncoder, labels: crossrank.CrossEncoder) -> None:
    assert model.predict(PAIRS, activation_fn="softmax").tolist() == [1.0] * len(PAIRS)
    logits = labels.predict(PAIRS, activation_fn="identity")
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(labels.predict(PAIRS, activation_fn="softmax"), expected, rtol=1e-6)


def test_a_function_gets_an_array_of_its_own(labels: crossrank.CrossEncoder) -> None:
    def spoil(logits: Any) -> Any:
        assert logits.dtype == np.float32 and logits.shape == (len(PAIRS), 3)
        logits[:] = 0
        return logits

    assert not labels.predict(PAIRS, activation_fn=spoil).any()
    assert labels.predict(PAIRS).all()


@pytest.mark.parametrize("result", [1.0, [1.0, 2.0], np.zeros((2, 3))])
def test_a_function_must_give_a_row_a_pair(model: crossrank.CrossEncoder, result: Any) -> None:
    with pytest.raises(ValueError, match="activation_fn.*5 pairs"):
        model.predict(PAIRS, activation_fn=lambda logits: result)


def test_what_a_function_raises_comes_through(model: crossrank.CrossEncoder) -> None:
    with pytest.raises(ZeroDivisionError):
        model.predict(PAIRS, activation_fn=lambda logits: 1 / 0)


@pytest.mark.parametrize("wrong", ["relu", "", "torch.nn.Tanh"])
def test_a_wrong_name_is_told(model: crossrank.CrossEncoder, wrong: str) -> None:
    with pytest.raises(ValueError, match="activation_fn: expected one of identity, sigmoid, softmax"):
        model.predict(PAIRS, activation_fn=wrong)


def test_a_class_in_the_place_of_an_instance_is_told(model: crossrank.CrossEncoder) -> None:
    with pytest.raises(TypeError, match="the class Sigmoid"):
        model.predict(PAIRS, activation_fn=fake_nn().Sigmoid)


def test_nothing_and_iterables(model: crossrank.CrossEncoder) -> None:
    assert model.predict([]).shape == (0,) and model.predict(iter(())).shape == (0,)
    scores = model.predict(PAIRS).tolist()
    assert model.predict(pair for pair in PAIRS).tolist() == scores
    assert model.predict(zip([QUERY] * len(PAIRS), DOCUMENTS)).tolist() == scores


def test_columns_are_as_pairs(model: crossrank.CrossEncoder, labels: crossrank.CrossEncoder) -> None:
    queries = [QUERY] * len(DOCUMENTS)
    for encoder in (model, labels):
        found = encoder.predict_columns(queries, DOCUMENTS)
        assert found.dtype == np.float32 and (found == encoder.predict(PAIRS)).all()
    assert model.predict_columns([], []).shape == (0,)
    assert labels.predict_columns([], []).shape == (0, 3)
    assert model.predict_columns([], []).dtype == np.float32


def test_prompts_stand_before_queries() -> None:
    folder = FIXTURES / "modular-prompt"
    own = crossrank.CrossEncoder(folder)
    assert own.default_prompt_name == "query" and set(own.prompts) == {"query", "document"}
    bare = crossrank.CrossEncoder(folder, prompts={"query": ""})
    prompt = own.prompts["query"]
    expected = bare.predict([(prompt + query, document) for query, document in PAIRS])
    assert own.predict(PAIRS).tolist() == expected.tolist() != bare.predict(PAIRS).tolist()
    assert own.rank(QUERY, DOCUMENTS) == bare.rank(prompt + QUERY, DOCUMENTS)
    assert own.predict(PAIRS, prompt="").tolist() == bare.predict(PAIRS).tolist()
    with pytest.raises(ValueError, match="prompt_name: expected one of .*found 'other'"):
        own.predict(PAIRS, prompt_name="other")
    with pytest.raises(TypeError, match="prompt: expected a string, found int"):
        own.predict(PAIRS, prompt=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("convert_to_numpy", False),
        ("convert_to_tensor", True),
        ("device", "cuda"),
        ("device", ["cpu", "cuda:0"]),
        ("pool", {"input": None}),
        ("chunk_size", 5),
    ],
)
def test_what_only_torch_could_honour_is_named(model: crossrank.CrossEncoder, argument: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{argument}: "):
        model.predict(PAIRS, **{argument: value})


def test_what_torch_has_by_default_is_taken(model: crossrank.CrossEncoder) -> None:
    model.predict(PAIRS, convert_to_numpy=True, convert_to_tensor=False, device="cpu", pool=None, chunk_size=None)


def test_earlier_names_are_taken_with_a_warning(model: crossrank.CrossEncoder) -> None:
    expected = model.predict(PAIRS, activation_fn="identity").tolist()
    with pytest.warns(DeprecationWarning, match="activation_fct"):
        assert model.predict(PAIRS, activation_fct="identity").tolist() == expected
    with pytest.warns(DeprecationWarning, match="sentences"):
        assert model.predict(sentences=PAIRS, activation_fn="identity").tolist() == expected
    with pytest.raises(TypeError, match="no_such"):
        model.predict(PAIRS, no_such=1)


def test_progress_is_shown_on_request(model: crossrank.CrossEncoder, capfd: pytest.CaptureFixture[str]) -> None:
    model.predict(PAIRS)
    model.rank(QUERY, DOCUMENTS)
    assert capfd.readouterr() == ("", "")
    model.predict(PAIRS, show_progress_bar=True)
    assert str(len(PAIRS)) in capfd.readouterr().err
    model.rank(QUERY, iter(DOCUMENTS), show_progress_bar=True)
    out, err = capfd.readouterr()
    assert out == "" and str(len(DOCUMENTS)) in err

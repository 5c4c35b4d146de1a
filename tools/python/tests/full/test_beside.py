"""The calls to sentence-transformers itself, with torch's own objects on both sides; and the record, whether it is right."""

from __future__ import annotations

from typing import Any

import pytest
import sentence_transformers
import torch
from conftest import DOCUMENTS, FIXTURES, QUERY
from differential.calls import Call, calls
from differential.outcome import Models
from test_differential import RECORDED, compare, same

import crossrank


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(sentence_transformers.CrossEncoder, torch.nn, tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Models:
    def load(folder: str, **options: Any) -> Any:
        return crossrank.CrossEncoder(folder, tokenizer="transformers5", dtype="f32", threads=2, **options)

    return Models(load, torch.nn, tmp_path_factory.mktemp("ours"))


@pytest.mark.parametrize("call", calls(), ids=lambda call: call.name)
def test_it_is_as_sentence_transformers(call: Call, theirs: Models, ours: Models) -> None:
    now = theirs.outcome(call)
    same(RECORDED[call.name], now)
    compare(call, now, ours.outcome(call))


@pytest.mark.parametrize("function", [torch.nn.Tanh(), torch.nn.ReLU(), torch.tanh, torch.sigmoid, torch.nn.functional.silu])
def test_functions_of_tensors(function: Any) -> None:
    pairs = [(QUERY, document) for document in DOCUMENTS]
    folder = str(FIXTURES / "gelu-60")
    expected = sentence_transformers.CrossEncoder(folder).predict(pairs, activation_fn=function)
    found = crossrank.CrossEncoder(folder).predict(pairs, activation_fn=function)
    assert found.dtype == expected.dtype and abs(found - expected).max() <= 1e-4

"""Loading: arguments, folders that are missing, broken, or change, models of the hub's cache."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import DOCUMENTS, FIXTURES, QUERY

import crossrank

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copy(tmp_path: Path, folder: str) -> Path:
    """A checkpoint of its own."""
    there = tmp_path / "model"
    shutil.copytree(folder, there)
    return there


def test_the_default_model_is_that_of_its_wheel() -> None:
    import crossrank_model

    encoder = crossrank.CrossEncoder()
    assert encoder.info()["family"] == "bert" and encoder.info()["dtype"] == "int8"
    assert encoder.rank(QUERY, DOCUMENTS)[0]["corpus_id"] == 0
    named = crossrank.CrossEncoder(crossrank_model.folder())
    assert named.rank(QUERY, DOCUMENTS) == encoder.rank(QUERY, DOCUMENTS)


def test_without_its_wheel_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "crossrank_model", None)
    with pytest.raises(FileNotFoundError, match="pip install crossrank-model"):
        crossrank.CrossEncoder()


def test_names_of_a_folder(folder: str) -> None:
    scores = [
        crossrank.CrossEncoder(name).predict((QUERY, "sea"))
        for name in (folder, Path(folder), os.path.relpath(folder), folder + "/")
    ]
    assert len(set(scores)) == 1


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("/no/such/folder", FileNotFoundError),
        ("./nothing", FileNotFoundError),
        ("a/b/c", FileNotFoundError),
        ("", FileNotFoundError),
        (Path("nothing"), FileNotFoundError),
        (FIXTURES / "README.md", NotADirectoryError),
        (b"model", TypeError),
        (3, TypeError),
        ("no spaces/here", ValueError),
        ("org/name@", ValueError),
        ("org/..", ValueError),
    ],
)
def test_what_is_no_model(name: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        crossrank.CrossEncoder(name, local_files_only=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": 0}, ValueError, "threads: expected at least 1, found 0"),
        ({"threads": -2}, ValueError, "threads: expected at least 1, found -2"),
        ({"threads": 100_000}, ValueError, "threads"),
        ({"threads": "two"}, TypeError, "threads: expected a whole number, found str"),
        ({"threads": 1.5}, TypeError, "threads"),
        ({"max_length": 0}, ValueError, "max_length"),
        ({"max_length": 3}, ValueError, "max_length"),
        ({"max_length": "64"}, TypeError, "max_length"),
        ({"dtype": "f16"}, ValueError, "dtype: expected auto, f32, bf16 or int8, found \"f16\""),
        ({"dtype": None}, TypeError, "dtype: expected a string, found NoneType"),
        ({"tokenizer": "mine"}, ValueError, "tokenizer: expected author or transformers5"),
        ({"weights": "copy"}, ValueError, "weights: expected mmap or read"),
        ({"activation_fn": "relu"}, ValueError, "activation_fn"),
        ({"activation_fn": 3}, TypeError, "activation_fn"),
        ({"device": "cuda"}, TypeError, "device"),
        ({"num_labels": 2}, ValueError, "num_labels: expected 1, as the checkpoint has, found 2"),
        ({"prompts": {"q": 3}}, TypeError, "prompts"),
        ({"default_prompt_name": "q"}, ValueError, "default_prompt_name"),
        ({"trust_remote_code": True}, TypeError, "trust_remote_code"),
        ({"model_kwargs": {"torch_dtype": "auto"}}, TypeError, "model_kwargs"),
        ({"processor_kwargs": {"a": 1}}, TypeError, "processor_kwargs"),
        ({"config_kwargs": {"a": 1}}, TypeError, "config_kwargs"),
        ({"modules": [1]}, TypeError, "modules"),
        ({"backend": "onnx"}, TypeError, "backend"),
        ({"keep_in_fp32_modules": ["a"]}, TypeError, "keep_in_fp32_modules"),
        ({"revision": 3}, TypeError, "revision"),
        ({"no_such": 3}, TypeError, "no_such"),
    ],
)
def test_wrong_options_are_named(folder: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        crossrank.CrossEncoder(folder, **options)


def test_what_sentence_transformers_has_by_default_is_taken(folder: str) -> None:
    crossrank.CrossEncoder(
        folder,
        device="cpu",
        trust_remote_code=False,
        revision=None,
        local_files_only=True,
        token=None,
        model_kwargs={},
        processor_kwargs=None,
        config_kwargs=None,
        backend="torch",
        num_labels=1,
        keep_in_fp32_modules=[],
    )


def test_options_take_effect(folder: str) -> None:
    encoder = crossrank.CrossEncoder(folder, max_length=20, threads=1, dtype="int8", weights="read")
    info = encoder.info()
    assert (info["max_length"], info["threads"], info["dtype"]) == (20, 1, "int8")
    assert encoder.max_length == encoder.max_seq_length == 20 and encoder.device == "cpu"
    assert encoder.rank(QUERY, ["sea " * 50], return_tokens=True)[0] == {
        "corpus_id": 0,
        "score": float(encoder.predict((QUERY, "sea " * 50))),
        "tokens": 20,
        "truncated": True,
    }
    assert folder in repr(encoder) and "int8" in repr(encoder)


def test_earlier_names_are_taken_with_a_warning(folder: str) -> None:
    with pytest.warns(DeprecationWarning, match="num_labels"), pytest.warns(DeprecationWarning, match="max_length"):
        assert crossrank.CrossEncoder(folder, 1, 20).max_length == 20
    with pytest.warns(DeprecationWarning, match="model_name"):
        crossrank.CrossEncoder(model_name=folder)
    with pytest.raises(TypeError, match="positional"):
        crossrank.CrossEncoder(folder, 1, 20, None, "cpu", 5)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b'{"a": 1}', b"\x00" * 64])
def test_broken_folders_are_errors_that_name_the_file(copy: Path, file: str, content: bytes | None) -> None:
    path = copy / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises((crossrank.ModelError, OSError), match=r"\.json|safetensors"):
        crossrank.CrossEncoder(copy)


def test_a_model_that_is_not_supported_is_named(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "deberta-v2"}))
    with pytest.raises(crossrank.ModelError, match="deberta-v2") as caught:
        crossrank.CrossEncoder(copy)
    assert isinstance(caught.value, ValueError)


def test_files_that_are_replaced_or_removed_leave_a_loaded_model_alone(copy: Path) -> None:
    encoder = crossrank.CrossEncoder(copy)
    expected = encoder.rank(QUERY, DOCUMENTS)
    other = copy / "other"
    other.write_bytes(b"something else")
    other.replace(copy / "model.safetensors")
    assert encoder.rank(QUERY, DOCUMENTS) == expected
    shutil.rmtree(copy)
    assert encoder.rank(QUERY, DOCUMENTS) == expected


def test_weights_that_were_read_may_be_overwritten(copy: Path) -> None:
    encoder = crossrank.CrossEncoder(copy, weights="read")
    expected = encoder.rank(QUERY, DOCUMENTS)
    with (copy / "model.safetensors").open("r+b") as file:
        file.truncate(0)
    assert encoder.rank(QUERY, DOCUMENTS) == expected


def test_weights_that_are_not_numbers_are_an_error_of_the_call(copy: Path) -> None:
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4000:] = b"\xff" * 4000
    weights.write_bytes(data)
    encoder = crossrank.CrossEncoder(copy)
    with pytest.raises(crossrank.ModelError, match="logit"):
        encoder.rank(QUERY, DOCUMENTS)


@pytest.fixture
def cache(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub that has one model, of cross-encoder's."""
    repository = tmp_path / "models--cross-encoder--small"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.mark.parametrize("name", ["small", "cross-encoder/small", "hf:small", "small@main", f"cross-encoder/small@{COMMIT}"])
def test_models_of_the_cache(cache: Path, model: crossrank.CrossEncoder, name: str) -> None:
    encoder = crossrank.CrossEncoder(name, cache_folder=str(cache))
    assert encoder.rank(QUERY, DOCUMENTS) == model.rank(QUERY, DOCUMENTS)


def test_the_cache_is_found_by_its_variables(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    crossrank.CrossEncoder("small", revision="main", local_files_only=True)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(cache / "elsewhere"))
    with pytest.raises(OSError, match="elsewhere"):
        crossrank.CrossEncoder("small")


def test_what_the_cache_lacks(cache: Path) -> None:
    for name, revision in (("large", None), ("small", "other"), ("minilm-l6", None)):
        with pytest.raises(OSError, match="does not have all of"):
            crossrank.CrossEncoder(name, revision=revision, cache_folder=str(cache))
    with pytest.raises(ValueError, match="revision: expected one"):
        crossrank.CrossEncoder("small@main", revision="main", cache_folder=str(cache))

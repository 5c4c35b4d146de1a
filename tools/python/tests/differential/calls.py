"""The calls that are made to sentence-transformers and to crossrank alike.

Each is a name, a checkpoint as `folders.py` finds it, how it is loaded, a method, and its arguments. What comes out is compared
by value, type, shape and, for errors, by class; `differs` says why one is not, for the few where we mean to be different.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

QUERY = "where do rivers go"
DOCUMENTS = [
    "Rivers run downhill until they reach the sea.",
    "Bread is baked in an oven.",
    "The bank by the river closes at four.",
    "",
    "Rain falls on the hills, and the brooks carry it to the rivers, and the rivers to the sea. " * 12,
    "naïve café: 川は海へ流れる 👩‍👩‍👧",
    "Bread is baked in an oven.",
]
PAIRS = [(QUERY, document) for document in DOCUMENTS] + [("what is bread made of", DOCUMENTS[1])]


@dataclass
class Call:
    """One call. Arguments that need torch's objects are functions of the namespace that has them."""

    name: str
    model: str
    method: str = "predict"
    arguments: Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]] = lambda nn: ((), {})
    load: Callable[[Any], dict[str, Any]] = lambda nn: {}
    differs: str = ""


def fake_nn() -> Any:
    """Classes that have the names of torch's, for where torch is not."""

    class Namespace:
        pass

    namespace = Namespace()
    for name, module in (("Sigmoid", "activation"), ("Softmax", "activation"), ("Identity", "linear")):

        class Module:
            def __init__(self, dim: int | None = None) -> None:
                self.dim = dim

            def __call__(self, scores: Any) -> Any:
                raise AssertionError("a name is enough")

        Module.__name__ = Module.__qualname__ = name
        Module.__module__ = f"torch.nn.modules.{module}"
        setattr(namespace, name, Module)
    return namespace


def predict(name: str, model: str, inputs: Any, differs: str = "", load: Any = None, **arguments: Any) -> Call:
    return make(name, model, "predict", (inputs,), arguments, differs, load)


def rank(name: str, model: str, query: Any, documents: Any, differs: str = "", load: Any = None, **arguments: Any) -> Call:
    return make(name, model, "rank", (query, documents), arguments, differs, load)


def make(
    name: str, model: str, method: str, positional: tuple[Any, ...], arguments: dict[str, Any], differs: str, load: Any
) -> Call:
    def given(nn: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return positional, {key: resolve(value, nn) for key, value in arguments.items()}

    def loaded(nn: Any) -> dict[str, Any]:
        return {key: resolve(value, nn) for key, value in (load or {}).items()}

    return Call(name, model, method, given, loaded, differs)


@dataclass
class Torch:
    """An instance of a class of torch.nn."""

    name: str
    dim: int | None = None


def resolve(value: Any, nn: Any) -> Any:
    if isinstance(value, Torch):
        kind = getattr(nn, value.name)
        return kind() if value.dim is None else kind(dim=value.dim)
    return value


LONELY = "it scores a lone text as if it were a pair; here a pair has two texts"
STR = "it takes a string for a list of characters; here that is an error"
NEGATIVE = "a negative top_k drops results from the end; here it is an error"
NO_TORCH = "there are no tensors here"

#: One label and sigmoid, identity by the checkpoint, prompts and modules, three labels, other families.
ONE = ["gelu-60", "sharded", "modular", "modular-prompt", "roberta", "mpnet", "modernbert", "electra", "distilbert", "albert"]
#: Under the names of tensors that transformers knows: see `folders.py`.
THREE = "three-labels"


def calls() -> list[Call]:
    """All of them."""
    # A longer pair than the position table has room for is an error there, and cut here: not what is compared.
    loads = {"roberta": {"max_length": 128}, "mpnet": {"max_length": 40}}
    all_of = [predict(f"pairs of {model}", model, PAIRS, load=loads.get(model)) for model in [*ONE, THREE]]
    all_of += [rank(f"rank of {model}", model, QUERY, DOCUMENTS, load=loads.get(model)) for model in ONE]
    all_of += inputs() + batches() + activations() + rankings() + wrong_inputs() + wrong_arguments() + loading()
    names = [call.name for call in all_of]
    assert len(set(names)) == len(names), "a name for each"
    return all_of


def inputs() -> list[Call]:
    pair = PAIRS[0]
    found = []
    for model in ("gelu-60", THREE):
        found += [
            predict(f"one tuple, {model}", model, pair),
            predict(f"one list, {model}", model, list(pair)),
            predict(f"one array, {model}", model, np.array(pair)),
            predict(f"one array of objects, {model}", model, np.array(pair, dtype=object)),
            predict(f"a batch of one, {model}", model, [pair]),
            predict(f"tuple of lists, {model}", model, tuple(list(pair) for pair in PAIRS)),
            predict(f"list of lists, {model}", model, [list(pair) for pair in PAIRS]),
            predict(f"array of two dimensions, {model}", model, np.array(PAIRS)),
            predict(f"array of objects, {model}", model, np.array(PAIRS, dtype=object)),
            predict(f"nothing, {model}", model, []),
            predict(f"empty tuple, {model}", model, ()),
            predict(f"empty array, {model}", model, np.array([], dtype=object)),
            predict(f"empty texts, {model}", model, [("", "")]),
            predict(f"white space, {model}", model, [(" \n\t", "\u00a0\u200b")]),
        ]
    found.append(predict("same pair twice", "gelu-60", [pair, pair]))
    found.append(predict("long query", "gelu-60", [(DOCUMENTS[4], "sea"), (DOCUMENTS[4], DOCUMENTS[4])]))
    found.append(predict("control characters", "gelu-60", [("a\x00b", "\ufeffrivers\r\nsea\x7f")]))
    found.append(predict("special tokens as text", "gelu-60", [("[CLS] rivers [SEP]", "[MASK] sea [PAD]")]))
    return found


def batches() -> list[Call]:
    found = [predict(f"batches of {size}", "gelu-60", PAIRS, batch_size=size) for size in (1, 2, 7, 8, 1000)]
    found += [predict(f"batches of {size}, three labels", THREE, PAIRS, batch_size=size) for size in (1, 3)]
    found += [rank(f"rank in batches of {size}", "gelu-60", QUERY, DOCUMENTS, batch_size=size) for size in (1, 3)]
    found += [
        predict("batches of 0", "gelu-60", PAIRS, batch_size=0),
        predict("batches of -1", "gelu-60", PAIRS, batch_size=-1),
        predict("batches of None", "gelu-60", PAIRS, batch_size=None),
        predict("batches of a string", "gelu-60", PAIRS, batch_size="8"),
        predict("batches of 2.5", "gelu-60", PAIRS, batch_size=2.5),
        predict("batches of True", "gelu-60", PAIRS, batch_size=True),
        rank("rank in batches of 0", "gelu-60", QUERY, DOCUMENTS, batch_size=0),
    ]
    return found


def activations() -> list[Call]:
    found = []
    for model in ("gelu-60", "sharded", THREE):
        found += [
            predict(f"sigmoid, {model}", model, PAIRS, activation_fn=Torch("Sigmoid")),
            predict(f"identity, {model}", model, PAIRS, activation_fn=Torch("Identity")),
            predict(f"softmax of the last, {model}", model, PAIRS, activation_fn=Torch("Softmax", -1)),
            predict(f"softmax of 1, {model}", model, PAIRS, activation_fn=Torch("Softmax", 1)),
            predict(f"apply_softmax, {model}", model, PAIRS, apply_softmax=True),
            predict(f"apply_softmax to one pair, {model}", model, PAIRS[0], apply_softmax=True),
            predict(f"sigmoid, then softmax, {model}", model, PAIRS, activation_fn=Torch("Sigmoid"), apply_softmax=True),
            predict(f"loaded with identity, {model}", model, PAIRS, load={"activation_fn": Torch("Identity")}),
            predict(f"loaded with sigmoid, {model}", model, PAIRS, load={"activation_fn": Torch("Sigmoid")}),
            predict(f"a function, {model}", model, PAIRS, activation_fn=lambda scores: scores * 3 - 1),
            predict(f"a function of one pair, {model}", model, PAIRS[0], activation_fn=lambda scores: scores * 3 - 1),
        ]
    found += [
        predict("the call's before the model's", "gelu-60", PAIRS, activation_fn=Torch("Identity"), load={"activation_fn": Torch("Sigmoid")}),
        predict("a sum of labels", THREE, PAIRS, activation_fn=lambda scores: scores.sum(1)),
        predict("a slice of labels", THREE, PAIRS, activation_fn=lambda scores: scores[:, :2]),
        predict("apply_softmax None", THREE, PAIRS, apply_softmax=None),
        predict("activation of the wrong type", "gelu-60", PAIRS, activation_fn=3),
    ]
    return found


def rankings() -> list[Call]:
    found = [rank(f"top {k}", "gelu-60", QUERY, DOCUMENTS, top_k=k) for k in (0, 1, 3, 7, 100)]
    found += [
        rank("top None", "gelu-60", QUERY, DOCUMENTS, top_k=None),
        rank("top -1", "gelu-60", QUERY, DOCUMENTS, top_k=-1, differs=NEGATIVE),
        rank("top 2.0", "gelu-60", QUERY, DOCUMENTS, top_k=2.0),
        rank("top of a string", "gelu-60", QUERY, DOCUMENTS, top_k="2"),
        rank("top True", "gelu-60", QUERY, DOCUMENTS, top_k=True),
        rank("with documents", "gelu-60", QUERY, DOCUMENTS, return_documents=True),
        rank("top 2 with documents", "gelu-60", QUERY, DOCUMENTS, top_k=2, return_documents=True),
        rank("no documents", "gelu-60", QUERY, []),
        rank("no documents, top 3", "gelu-60", QUERY, [], top_k=3),
        rank("one document", "gelu-60", QUERY, DOCUMENTS[:1]),
        rank("tuple of documents", "gelu-60", QUERY, tuple(DOCUMENTS)),
        rank("array of documents", "gelu-60", QUERY, np.array(DOCUMENTS, dtype=object)),
        rank("array of strings", "gelu-60", QUERY, np.array(DOCUMENTS[:3])),
        rank("empty query", "gelu-60", "", DOCUMENTS),
        rank("rank by sigmoid", "sharded", QUERY, DOCUMENTS, activation_fn=Torch("Sigmoid")),
        rank("rank by identity", "gelu-60", QUERY, DOCUMENTS, activation_fn=Torch("Identity")),
        rank("rank by a function", "gelu-60", QUERY, DOCUMENTS, activation_fn=lambda scores: scores / 2),
        rank("rank backwards", "gelu-60", QUERY, DOCUMENTS, activation_fn=lambda scores: -scores),
        rank("rank by softmax", "gelu-60", QUERY, DOCUMENTS[:1], activation_fn=Torch("Softmax", -1)),
        rank("rank with three labels", THREE, QUERY, DOCUMENTS),
        rank("rank with prompt", "modular-prompt", QUERY, DOCUMENTS, prompt="find: "),
        rank("rank with empty prompt", "modular-prompt", QUERY, DOCUMENTS, prompt=""),
        rank("rank with the other prompt", "modular-prompt", QUERY, DOCUMENTS, prompt_name="document"),
        predict("predict with prompt", "gelu-60", PAIRS, prompt="find: "),
        predict("predict with prompts of the caller", "gelu-60", PAIRS, prompt_name="q", load={"prompts": {"q": "find: "}}),
        predict("predict with a default prompt", "gelu-60", PAIRS, load={"prompts": {"q": "find: "}, "default_prompt_name": "q"}),
        predict("a prompt in the place of the checkpoint's", "modular-prompt", PAIRS, load={"prompts": {"query": ""}}),
        predict("both prompts", "modular-prompt", PAIRS, prompt="find: ", prompt_name="document"),
        predict("unknown prompt", "modular-prompt", PAIRS, prompt_name="nothing"),
        predict("unknown prompt of a model without", "gelu-60", PAIRS, prompt_name="nothing"),
    ]
    return found


def wrong_inputs() -> list[Call]:
    return [
        predict("predict of None", "gelu-60", None),
        predict("predict of a number", "gelu-60", 3),
        predict("predict of a string", "gelu-60", "rivers", differs=LONELY),
        predict("a pair with None", "gelu-60", [(QUERY, None)]),
        predict("a pair with a number", "gelu-60", [(QUERY, 3)]),
        predict("a pair with bytes", "gelu-60", [(QUERY, b"sea")]),
        predict("a pair with a list", "gelu-60", [(QUERY, ["sea"])]),
        predict("a pair of one", "gelu-60", [(QUERY,)]),
        predict("a pair of three", "gelu-60", [(QUERY, "sea", "river")]),
        predict("an empty pair", "gelu-60", [()]),
        predict("half a surrogate", "gelu-60", [(QUERY, "sea \ud800")]),
        rank("documents None", "gelu-60", QUERY, None),
        rank("documents a number", "gelu-60", QUERY, 3),
        rank("documents a string", "gelu-60", QUERY, "sea", differs=STR),
        rank("a document None", "gelu-60", QUERY, ["sea", None]),
        rank("a document NaN", "gelu-60", QUERY, ["sea", float("nan")]),
        rank("query None", "gelu-60", None, DOCUMENTS),
        rank("query a number", "gelu-60", 3, DOCUMENTS),
    ]


def wrong_arguments() -> list[Call]:
    return [
        predict("unknown argument", "gelu-60", PAIRS, differs="it hands unknown arguments on, to whoever may want them", no_such=1),
        predict("earlier name of activation_fn", "gelu-60", PAIRS, activation_fct=Torch("Identity")),
        predict("num_workers", "gelu-60", PAIRS, num_workers=2),
        predict("device cpu", "gelu-60", PAIRS, device="cpu"),
        predict("tensors", "gelu-60", PAIRS, convert_to_tensor=True, differs=NO_TORCH),
        predict("a list of tensors", "gelu-60", PAIRS, convert_to_numpy=False, differs=NO_TORCH),
        rank("unknown argument of rank", "gelu-60", QUERY, DOCUMENTS, no_such=1),
        rank("apply_softmax of rank", "gelu-60", QUERY, DOCUMENTS, apply_softmax=True),
    ]


def loading() -> list[Call]:
    found = [predict(f"at most {n} tokens", "gelu-60", PAIRS, load={"max_length": n}) for n in (8, 20, 60)]
    found += [
        predict("one label, as it has", "gelu-60", PAIRS, load={"num_labels": 1}),
        predict("unknown default prompt", "gelu-60", PAIRS, load={"default_prompt_name": "nothing"}),
        predict("a folder that is not there", "no/such/folder", PAIRS),
        predict("a file", "README.md", PAIRS),
        predict("unknown argument of loading", "gelu-60", PAIRS, load={"no_such": 1}),
    ]
    return found

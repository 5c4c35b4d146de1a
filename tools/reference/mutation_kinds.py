"""Mistakes that an engine may make with any family, each as a change of a loaded model."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn
from transformers.activations import ACT2FN

from family_modular import base_of

Make = Callable[[nn.Module, ExitStack], None]


@dataclass
class Mistake:
    name: str
    make: Make  # changes the model; what it patches elsewhere is undone by the stack


def base(model: nn.Module) -> nn.Module:
    return base_of(model) if hasattr(model, "predict") else model.base_model


def each(names: tuple[str, ...], value: Callable[[], nn.Module]) -> Make:
    """Sets attributes of these names anywhere in the base."""

    def make(model, _stack) -> None:
        owners = [(m, name) for m in base(model).modules() for name in names]
        found = [(m, name) for m, name in owners if isinstance(getattr(m, name, None), nn.Module)]
        assert found, names
        for module, name in found:
            setattr(module, name, value())

    return make


def activation(name: str) -> Mistake:
    return Mistake(
        f"layers' activation {name}", each(("intermediate_act_fn", "activation", "act"), lambda: ACT2FN[name])
    )


def eps(change: Callable[[float], float], name: str) -> Mistake:
    def make(model, _stack) -> None:
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = change(module.eps)

    return Mistake(name, make)


EPS_10 = eps(lambda eps: 10 * eps, "eps times ten")


def set_at(path: str, value: Callable[[nn.Module], object], name: str) -> Mistake:
    """Replaces the module at a path (of the whole model) by what is made of it."""

    def make(model, _stack) -> None:
        parent, _, last = path.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(owner, last, value(getattr(owner, last)))

    return Mistake(name, make)


def dropped(path: str, name: str) -> Mistake:
    return set_at(path, lambda _: nn.Identity(), name)


def zeroed(part: str, name: str) -> Mistake:
    """Zeroes parameters whose names contain `part`."""

    def make(model, _stack) -> None:
        found = [p for key, p in model.named_parameters() if part in key]
        assert found, part
        for parameter in found:
            parameter.data.zero_()

    return Mistake(name, make)


def parameter(part: str, change: Callable[[torch.Tensor, nn.Module], torch.Tensor], name: str) -> Mistake:
    """Changes parameters whose names contain `part`."""

    def make(model, _stack) -> None:
        found = [p for key, p in model.named_parameters() if part in key]
        assert found, part
        for p in found:
            p.data = change(p.data, base(model)).contiguous()

    return Mistake(name, make)


def pooled(combine: Callable[[torch.Tensor], torch.Tensor], name: str, path: str = "") -> Mistake:
    """Puts another pooling of the last states, [1, tokens, hidden], in the place of all of them."""

    def hook(_module, _inputs, output):
        states = output.last_hidden_state
        output.last_hidden_state = combine(states).unsqueeze(1).expand_as(states)
        return output

    def make(model, _stack) -> None:
        owner = base(model).get_submodule(path) if path else base(model)
        owner.register_forward_hook(hook)

    return Mistake(name, make)


def mean(states: torch.Tensor) -> torch.Tensor:
    return states.mean(1)


TYPE_ROWS = "token_type_embeddings.weight"
NO_SEGMENTS = parameter(TYPE_ROWS, lambda table, _: table[:1].expand_as(table).clone(), "every token of type 0")
NO_TYPES = zeroed(TYPE_ROWS, "no row of the type table added")


def moved_positions(by: int) -> Mistake:
    name = f"positions {abs(by)} too {'high' if by > 0 else 'low'}"
    return parameter("position_embeddings.weight", lambda table, _: table.roll(-by, 0), name)


def qk_swapped(query: str, key: str) -> Mistake:
    def make(model, _stack) -> None:
        tensors = dict(model.named_parameters())
        names = [name for name in tensors if query in name]
        assert names
        for name in names:
            a, b = tensors[name], tensors[name.replace(query, key)]
            a.data, b.data = b.data.clone(), a.data.clone()

    return Mistake("queries and keys swapped", make)

"""Random checkpoints of the families, and what transformers computes of them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from family_tokenizers import Built
from reference import Json, Tensors, write_json

# Gains of linear layers on inputs of size one, by what their names contain; the first that matches counts. Attention
# scores and activations reach several units, and what the layers add outweighs the residual, so that the pooled state
# tells one pair from another.
GAINS: list[tuple[str, float]] = [
    (r"embeddings_project|mapping_in", 1.5),
    (r"Wqkv", 1.5),
    (r"attn\.Wo", 2.0),
    (r"mlp\.Wi", 1.5),
    (r"mlp\.Wo", 3.0),
    (r"query|key|[qk]_lin|attn\.[qk]\.", 1.3),
    (r"value|v_lin|attn\.v\.", 2.0),
    (r"attention\.output|out_lin|attn\.o\.|attention\.dense", 2.0),
    (r"intermediate|lin1|ffn\.weight", 1.5),
    (r"output\.dense|lin2|ffn_output", 3.0),
    (r"head\.dense|classifier\.dense|pre_classifier|pooler", 1.0),
    (r"classifier", 6.0),
]


@dataclass
class Spec:
    """A small model of a family: its shape, its tokenizer, and how it is stored."""

    name: str
    about: str
    config: Json  # config.json as it is written, but for what `full_config` adds
    tokenizer: Callable[[], Built]
    window: int  # how many tokens a pair may have
    scale: float  # standard deviation of the tables that are summed before the first norm
    dtype: torch.dtype = torch.float32
    token_types: bool = False  # whether the model is given the token types of the pair template
    model_max_length: int = 512
    hidden_of: tuple[int, ...] = ()  # lines whose hidden states are stored
    gains: list[tuple[str, float]] = field(default_factory=list)  # asked before GAINS
    lines: tuple[int, ...] = ()  # which of the pairs are stored, where not all are

    @property
    def prompt(self) -> str:
        """What stands in front of every query."""
        return ""

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])


def full_config(spec: Spec, vocab_size: int) -> Json:
    key = "torch_dtype" if "global_rope_theta" in spec.config else "dtype"
    stored = str(spec.dtype).removeprefix("torch.")
    return dict(sorted((spec.config | {"vocab_size": vocab_size, key: stored}).items()))


def random_tensor(name: str, shape: tuple[int, ...], spec: Spec, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(shape)
    if re.search(r"norm\.weight$", name, re.IGNORECASE):
        return rng.uniform(0.6, 1.4, shape)
    if re.search(r"norm\.bias$", name, re.IGNORECASE):
        return 0.3 * noise
    if "relative_attention_bias" in name:
        return 1.5 * noise
    if "embeddings." in name:
        return spec.scale * noise
    if name.endswith("bias"):
        return 0.2 * noise
    gain = next(gain for part, gain in spec.gains + GAINS if re.search(part, name))
    return gain / np.sqrt(shape[-1]) * noise


def random_tensors(model: torch.nn.Module, spec: Spec, seed: int) -> Tensors:
    """numpy's generator gives the same numbers on every processor; torch's does not promise to."""
    rng = np.random.default_rng(seed)
    tensors: Tensors = {}
    for name, like in model.state_dict().items():
        values = torch.from_numpy(random_tensor(name, tuple(like.shape), spec, rng))
        tensors[name] = values.to(torch.float32).to(spec.dtype)
    return tensors


def write_tokenizer(folder: Path, spec: Spec) -> int:
    """Writes both files and gives the size of the vocabulary."""
    tokenizer, settings = spec.tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json", dict(sorted((settings | {"model_max_length": spec.model_max_length}).items()))
    )
    return tokenizer.get_vocab_size()


def write_checkpoint(folder: Path, spec: Spec, seed: int) -> None:
    write_json(folder / "config.json", full_config(spec, write_tokenizer(folder, spec)))
    config = AutoConfig.from_pretrained(folder)
    model = getattr(transformers, spec.config["architectures"][0])(config)
    tensors = random_tensors(model, spec, seed)
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def encoded(folder: Path, spec: Spec, pairs: list[Json]) -> list[Json]:
    """The ids of AutoTokenizer, which for these files are those of tokenizer.json itself, as is asserted."""
    auto = AutoTokenizer.from_pretrained(folder)
    own = auto.backend_tokenizer.__class__.from_file(str(folder / "tokenizer.json"))
    own.enable_truncation(spec.window, strategy="longest_first", direction="right")
    rows = []
    for pair in pairs:
        query, document = str(pair["query"]), str(pair["document"])
        asked = spec.prompt + query
        # A batch of one: given single texts, transformers leaves out the last separator of an empty document.
        ids = auto([asked], [document], truncation="longest_first", max_length=spec.window)["input_ids"][0]
        encoding = own.encode(asked, document)
        assert ids == encoding.ids, (spec.name, query, document, ids, encoding.ids)
        types = encoding.type_ids if spec.token_types else [0] * len(ids)
        rows.append({"query": query, "document": document, "ids": ids, "type_ids": types})
    return rows


def load(folder: Path) -> torch.nn.Module:
    """The model as transformers loads it, in f32 and with eager attention."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    assert model.config._attn_implementation == "eager"
    assert all(p.dtype == torch.float32 for p in model.parameters())
    return model


def inputs_of(row: Json, token_types: bool) -> dict[str, torch.Tensor]:
    ids = torch.tensor([row["ids"]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return inputs | ({"token_type_ids": torch.tensor([row["type_ids"]])} if token_types else {})


@torch.inference_mode()
def logits(model: torch.nn.Module, spec: Spec, rows: list[Json]) -> torch.Tensor:
    """One pair at a time, so that padding has no part in it."""
    return torch.stack([model(**inputs_of(row, spec.token_types)).logits[0] for row in rows])


def layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The modules that make layers of a model, in order; one may be called several times (ALBERT)."""
    base = model.base_model
    for path in ("encoder.layer", "transformer.layer", "layers", "encoder.albert_layer_groups"):
        try:
            return list(base.get_submodule(path))
        except AttributeError:
            continue
    raise AttributeError("layers")


@torch.inference_mode()
def states(model: torch.nn.Module, spec: Spec, row: Json) -> list[torch.Tensor]:
    """What enters the first layer and what leaves each, [tokens, hidden]."""
    found: list[torch.Tensor] = []

    def enter(_module, inputs, kwargs) -> None:
        if not found:
            found.append((inputs[0] if inputs else kwargs["hidden_states"])[0].clone())

    def leave(_module, _inputs, output) -> None:
        found.append((output[0] if isinstance(output, tuple) else output)[0].clone())

    hooks = [layer.register_forward_pre_hook(enter, with_kwargs=True) for layer in layers(model)]
    hooks += [layer.register_forward_hook(leave) for layer in layers(model)]
    model(**inputs_of(row, spec.token_types))
    for hook in hooks:
        hook.remove()
    assert len(found) == model.config.num_hidden_layers + 1
    return found


def write_hidden(folder: Path, spec: Spec, rows: list[Json]) -> None:
    """As in gelu-60: all tokens of what enters each layer; of what leaves the last, the first token only."""
    model = load(folder)
    tensors: Tensors = {}
    for i in spec.hidden_of:
        for layer, state in enumerate(states(model, spec, rows[i])):
            last = layer == model.config.num_hidden_layers
            tensors[f"pair.{i}.layer.{layer}"] = (state[:1] if last else state).clone()
    safetensors.torch.save_file(tensors, folder / "hidden.safetensors")

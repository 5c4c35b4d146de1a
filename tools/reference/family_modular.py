"""Folders of sentence-transformers whose head is modules, and what its CrossEncoder says of them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import transformers
from sentence_transformers import CrossEncoder
from transformers import AutoConfig

import family_models as models
from family_models import Spec
from reference import Json, Tensors, write_json

VERSIONS: Json = {"pytorch": "2.15.0", "sentence_transformers": "6.2.0", "transformers": "5.23.0"}


@dataclass
class Module:
    """A module after the transformer: its class path, its config.json, the gain of its weights, its biases' mean."""

    type: str
    config: Json
    gain: float = 1.0
    bias: float = 0.0

    @property
    def kind(self) -> str:
        return self.type.rsplit(".", 1)[-1]


@dataclass
class ModularSpec(Spec):
    modules: list[Module] = field(default_factory=list)
    transformer: str = "sentence_transformers.base.modules.transformer.Transformer"  # its class path
    sentence_bert_config: Json = field(default_factory=dict)
    activation: str = "torch.nn.modules.linear.Identity"  # of the scores; the stored logits are without it
    prompts: Json = field(default_factory=dict)
    default_prompt: str | None = None  # its name

    @property
    def prompt(self) -> str:
        return str(self.prompts[self.default_prompt]) if self.default_prompt else ""


def tensors_of(module: Module, rng: np.random.Generator) -> Tensors:
    config = module.config
    if module.kind == "LayerNorm":
        size = config["dimension"]
        arrays = {"norm.weight": rng.uniform(0.6, 1.4, size), "norm.bias": 0.3 * rng.standard_normal(size)}
    elif module.kind == "Dense":
        rows, columns = config["out_features"], config["in_features"]
        arrays = {"linear.weight": module.gain / np.sqrt(columns) * rng.standard_normal((rows, columns))}
        if config.get("bias", True):
            arrays["linear.bias"] = module.bias + 0.2 * rng.standard_normal(rows)
        if config.get("use_residual") and rows != columns:
            arrays["residual.weight"] = module.gain / np.sqrt(columns) * rng.standard_normal((rows, columns))
    else:
        arrays = {}
    return {name: torch.from_numpy(array).to(torch.float32) for name, array in arrays.items()}


def write_checkpoint(folder: Path, spec: ModularSpec, seed: int) -> None:
    write_json(folder / "config.json", models.full_config(spec, models.write_tokenizer(folder, spec)))
    base = getattr(transformers, spec.config["architectures"][0])(AutoConfig.from_pretrained(folder))
    # The names have no prefix: they are those of the base model.
    safetensors.torch.save_file(
        models.random_tensors(base, spec, seed), folder / "model.safetensors", {"format": "pt"}
    )
    rng = np.random.default_rng(seed + 1000)
    listed = [{"idx": 0, "name": "0", "path": "", "type": spec.transformer}]
    for i, module in enumerate(spec.modules, start=1):
        path = f"{i}_{module.kind}"
        listed.append({"idx": i, "name": str(i), "path": path, "type": module.type})
        (folder / path).mkdir()
        write_json(folder / path / "config.json", module.config)
        if tensors := tensors_of(module, rng):
            safetensors.torch.save_file(tensors, folder / path / "model.safetensors", {"format": "pt"})
    (folder / "modules.json").write_text(json.dumps(listed, indent=2) + "\n", "utf-8")
    write_json(folder / "sentence_bert_config.json", spec.sentence_bert_config)
    settings = {"__version__": VERSIONS, "activation_fn": spec.activation, "default_prompt_name": spec.default_prompt}
    settings |= {"model_type": "CrossEncoder", "prompts": spec.prompts}
    write_json(folder / "config_sentence_transformers.json", settings)


def load(folder: Path) -> CrossEncoder:
    """The modules as sentence-transformers loads them, in f32 and with eager attention."""
    model = CrossEncoder(
        str(folder), device="cpu", model_kwargs={"dtype": torch.float32, "attn_implementation": "eager"}
    ).eval()
    assert base_of(model).config._attn_implementation == "eager"
    assert all(p.dtype == torch.float32 for p in model.parameters())
    return model


def base_of(model: CrossEncoder) -> torch.nn.Module:
    return model[0].model


@torch.inference_mode()
def logits(model: CrossEncoder, spec: ModularSpec, rows: list[Json]) -> torch.Tensor:
    """From texts, by `predict`, one pair at a time; the ids that it makes are compared with the stored ones."""
    found, seen = [], []
    # On the table, because sentence-transformers calls the base's `forward` itself, past the base's hooks.
    table = base_of(model).get_input_embeddings()
    hook = table.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0][0].tolist()))
    for row in rows:
        pair = (row["query"], row["document"])
        score = model.predict([pair], batch_size=1, activation_fn=torch.nn.Identity(), show_progress_bar=False)
        found.append(torch.from_numpy(score).reshape(-1))
    hook.remove()
    # A mistake may be about the ids.
    assert seen == [row["ids"] for row in rows] or getattr(model, "ids_differ", False), spec.name
    return torch.stack(found)

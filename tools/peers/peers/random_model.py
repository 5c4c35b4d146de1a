"""Checkpoints of other widths. Speed does not depend on what weights say, so random ones serve."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from peers.errors import SetupError
from peers.texts import read_config

SEED = 20
INIT = 0.02  # BERT's own, at its own width of 768; a narrower model gets more, so that sums over a row are as large
CLASSIFIER_GAIN = 25  # at INIT alone the logits of two documents hardly differ, and a comparison would show nothing


@dataclass(frozen=True)
class Width:
    """The sizes of a model, and how many documents it is given so that a run ends within minutes."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    snippets: int
    passages: int

    @property
    def init(self) -> np.float32:
        """The standard deviation of weights."""
        return np.float32(INIT * (768 / self.hidden) ** 0.5)

    @property
    def name(self) -> str:
        """The folder's name, and the record's."""
        return f"random-h{self.hidden}-l{self.layers}"


WIDTHS = (
    Width(hidden=128, layers=2, heads=2, intermediate=512, snippets=50, passages=50),
    Width(hidden=768, layers=12, heads=12, intermediate=3072, snippets=20, passages=8),
    Width(hidden=1024, layers=24, heads=16, intermediate=4096, snippets=10, passages=4),
)


class Draw:
    """Tensors by name, each drawn when it is added."""

    def __init__(self, width: Width) -> None:
        self.rng = np.random.default_rng(SEED)
        self.init = width.init
        self.tensors: dict[str, np.ndarray] = {}

    def normal(self, name: str, *shape: int, gain: float = 1.0, mean: float = 0.0) -> None:
        """A tensor around `mean`."""
        deviation = np.float32(self.init * gain)
        self.tensors[name] = np.float32(mean) + self.rng.standard_normal(shape, np.float32) * deviation

    def linear(self, name: str, outputs: int, inputs: int, gain: float = 1.0) -> None:
        """Biases are not zero, as they would be in a new BERT, so that an engine that drops one is noticed."""
        self.normal(f"{name}.weight", outputs, inputs, gain=gain)
        self.normal(f"{name}.bias", outputs)

    def norm(self, name: str, size: int) -> None:
        """Near one and zero, but not equal to them, for the same reason."""
        self.normal(f"{name}.weight", size, mean=1.0)
        self.normal(f"{name}.bias", size)


def tensors(width: Width, vocabulary: int, positions: int) -> dict[str, np.ndarray]:
    """All of a BertForSequenceClassification with one label."""
    draw = Draw(width)
    for kind, rows in {"word": vocabulary, "position": positions, "token_type": 2}.items():
        draw.normal(f"bert.embeddings.{kind}_embeddings.weight", rows, width.hidden)
    draw.norm("bert.embeddings.LayerNorm", width.hidden)
    for layer in range(width.layers):
        at = f"bert.encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            draw.linear(f"{at}.attention.self.{part}", width.hidden, width.hidden)
        draw.linear(f"{at}.attention.output.dense", width.hidden, width.hidden)
        draw.norm(f"{at}.attention.output.LayerNorm", width.hidden)
        draw.linear(f"{at}.intermediate.dense", width.intermediate, width.hidden)
        draw.linear(f"{at}.output.dense", width.hidden, width.intermediate)
        draw.norm(f"{at}.output.LayerNorm", width.hidden)
    draw.linear("bert.pooler.dense", width.hidden, width.hidden)
    draw.linear("classifier", 1, width.hidden, gain=CLASSIFIER_GAIN)
    return draw.tensors


def config(width: Width, base: dict) -> dict:
    """The base model's, with the sizes changed and nothing left that only belongs to its training."""
    kept = ("architectures", "hidden_act", "layer_norm_eps", "max_position_embeddings", "model_type")
    kept += ("pad_token_id", "position_embedding_type", "type_vocab_size", "vocab_size")
    return {key: base[key] for key in kept if key in base} | {
        "hidden_size": width.hidden,
        "num_hidden_layers": width.layers,
        "num_attention_heads": width.heads,
        "intermediate_size": width.intermediate,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "dtype": "float32",
    }


def ensure(width: Width, base: Path, out: Path) -> Path:
    """The checkpoint folder, with the tokenizer of `base`; written on first use, and again when it would differ."""
    sizes = read_config(base)
    if sizes.get("model_type") != "bert" or sizes.get("type_vocab_size") != 2:
        raise SetupError(f"--model {base}: expected a BERT with two token types")
    folder = out / width.name
    mark = folder / "made-from.json"
    drawn = {"seed": SEED, "init": INIT, "gain": CLASSIFIER_GAIN}
    content = json.dumps(drawn | {"width": asdict(width), "config": config(width, sizes)})
    if mark.is_file() and mark.read_text("utf-8") == content:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    mark.unlink(missing_ok=True)
    (folder / "config.json").write_text(json.dumps(config(width, sizes), indent=2) + "\n", "utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    values = tensors(width, sizes["vocab_size"], sizes["max_position_embeddings"])
    save_file(values, folder / "model.safetensors", {"format": "pt"})
    mark.write_text(content, "utf-8")
    return folder

"""Checkpoint folders of the families, with random weights: speed does not depend on what weights say.

Run as `python -m peers.random_family`, it reads what to make as JSON on stdin: it needs PyTorch, whose memory and threads
are gone afterwards.
"""

import json
import re
import shutil
import subprocess
import sys
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

from peers.errors import SetupError
from peers.family_sizes import Family
from peers.family_tokenizers import KINDS, NAMES, given
from peers.judged import texts

# Another way of drawing makes everything anew.
DRAWN = 1
# Gains of Linear weights on inputs of size one; the first part that a name contains counts. At one the states keep
# their size through the layers; the classifier's makes logits tell one document from another.
GAINS = [("classifier.dense", 1.0), ("pre_classifier", 1.0), ("classifier", 8.0), ("scores", 8.0)]
TABLE = 0.05
BIAS = 0.05

POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
DENSE = "sentence_transformers.base.modules.dense.Dense"
LAYER_NORM = "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm"
TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"


def draw(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A tensor by its name. Nothing is zero or one throughout, as in a new model, so that an engine that drops a bias
    is noticed.
    """
    noise = rng.standard_normal(shape, np.float32)
    if re.search(r"norm\.weight$", name, re.IGNORECASE):
        return np.float32(1) + np.float32(0.1) * noise
    if name.endswith("bias"):
        return np.float32(BIAS) * noise
    if "relative_attention_bias" in name:
        return np.float32(0.5) * noise
    if "embeddings." in name:
        return np.float32(TABLE) * noise
    gain = next((gain for part, gain in GAINS if part in name), 1.0)
    return np.float32(gain / np.sqrt(shape[-1])) * noise


def modules(family: Family, rng: np.random.Generator) -> list[tuple[str, dict, dict[str, np.ndarray]]]:
    """Class path, config and tensors of each module after the transformer."""
    hidden = int(family.sizes["hidden_size"])
    between = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    dense = {"in_features": hidden, "out_features": hidden, "bias": False}
    dense |= {"activation_function": "torch.nn.modules.activation.GELU"} | between
    last = {"in_features": hidden, "out_features": 1, "bias": True}
    last |= {"activation_function": "torch.nn.modules.linear.Identity"} | between | {"module_output_name": "scores"}
    norm = {f"norm.{kind}": draw(f"norm.{kind}", (hidden,), rng) for kind in ("weight", "bias")}
    scores = {"linear.weight": draw("scores.weight", (1, hidden), rng), "linear.bias": draw("bias", (1,), rng)}
    return [
        (POOLING, {"embedding_dimension": hidden, "pooling_mode": "cls", "include_prompt": True}, {}),
        (DENSE, dense, {"linear.weight": draw("dense.weight", (hidden, hidden), rng)}),
        (LAYER_NORM, {"dimension": hidden}, norm),
        (DENSE, last, scores),
    ]


def write_json(path: Path, value: object) -> None:
    """A file as the libraries write them."""
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


def write_modules(family: Family, folder: Path, rng: np.random.Generator) -> None:
    """What sentence-transformers reads beside the encoder."""
    from safetensors.numpy import save_file

    listed = [{"idx": 0, "name": "0", "path": "", "type": TRANSFORMER}]
    for i, (path, config, tensors) in enumerate(modules(family, rng), start=1):
        name = f"{i}_{path.rsplit('.', 1)[-1]}"
        listed.append({"idx": i, "name": str(i), "path": name, "type": path})
        (folder / name).mkdir(exist_ok=True)
        write_json(folder / name / "config.json", config)
        if tensors:
            save_file(tensors, folder / name / "model.safetensors", {"format": "pt"})
    write_json(folder / "modules.json", listed)
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    task = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
    write_json(folder / "sentence_bert_config.json", task | {"modality_config": {"text": text}})
    identity = "torch.nn.modules.linear.Identity"
    versions = {"pytorch": "2.15.0", "sentence_transformers": "6.2.0", "transformers": "5.23.0"}
    settings = {"__version__": versions, "activation_fn": identity, "default_prompt_name": None, "prompts": {}}
    write_json(folder / "config_sentence_transformers.json", settings | {"model_type": "CrossEncoder"})


def write_weights(family: Family, folder: Path) -> None:
    """Every tensor that the class has, by its name and shape; numpy's numbers are the same on every processor."""
    import torch
    import transformers
    from safetensors.numpy import save_file

    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = getattr(transformers, family.config["architectures"][0])(config)
    rng = np.random.default_rng(zlib.crc32(family.name.encode()))
    tensors = {name: draw(name, tuple(like.shape), rng) for name, like in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    if family.modular:
        write_modules(family, folder, rng)


def write_tokenizer(family: Family, folder: Path, corpora: list[Path], xlmr: str | None) -> None:
    """The tokenizer's two files. Its class is the one that takes tokenizer.json as it is."""
    if xlmr and family.tokenizer == "xlmr":
        tokenizer = given(xlmr)
    else:
        tokenizer = KINDS[family.tokenizer](sorted(set().union(*map(texts, corpora))))
    rows = int(family.config["vocab_size"])
    if tokenizer.get_vocab_size() > rows:
        raise SetupError(f"{family.name}: a tokenizer of {tokenizer.get_vocab_size()} pieces for {rows} rows")
    tokenizer.save(str(folder / "tokenizer.json"))
    inputs = ["input_ids", "attention_mask"] + (["token_type_ids"] if family.token_types else [])
    settings = {"model_input_names": inputs, "model_max_length": family.window}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast"} | NAMES[family.tokenizer]
    write_json(folder / "tokenizer_config.json", settings)


def make(family: Family, folder: Path, corpora: list[Path], xlmr: str | None) -> None:
    """The whole folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", family.config | {"dtype": "float32"})
    write_tokenizer(family, folder, corpora, xlmr)
    write_weights(family, folder)


def ensure(family: Family, out: Path, corpora: list[Path], xlmr: Path | None) -> Path:
    """The folder, made on first use and again when it would differ."""
    folder = out / family.name
    mark = folder / "made-from.json"
    given_as = str(xlmr) if xlmr and family.tokenizer == "xlmr" else None
    request = {"family": asdict(family), "corpora": list(map(str, corpora)), "xlmr": given_as, "drawn": DRAWN}
    content = json.dumps(request)
    if mark.is_file() and mark.read_text("utf-8") == content:
        return folder
    command = [sys.executable, "-m", "peers.random_family", str(folder.resolve())]
    where = Path(__file__).resolve().parent.parent
    absolute = request | {"corpora": [str(path.resolve()) for path in corpora]}
    absolute["xlmr"] = str(Path(given_as).resolve()) if given_as else None
    done = subprocess.run(
        command, cwd=where, input=json.dumps(absolute), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["without a word"]
        raise SetupError(f"{family.name}: making its checkpoint failed: {said[-1]}")
    mark.write_text(content, "utf-8")
    return folder


def main() -> None:
    """What `ensure` starts."""
    request = json.load(sys.stdin)
    family = Family(**request["family"])
    make(family, Path(sys.argv[1]), [Path(path) for path in request["corpora"]], request["xlmr"])


if __name__ == "__main__":
    main()

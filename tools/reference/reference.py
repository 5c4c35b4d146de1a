#!/usr/bin/env python3
"""Reference logits of BERT cross-encoders, computed by `transformers` in f32 with eager attention.

    reference.py fixtures OUT_DIR                             small random models with their references
    reference.py checkpoint MODEL_DIR PAIRS.jsonl OUT.jsonl   references for a checkpoint folder
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification

HERE = Path(__file__).resolve().parent
RESIDUAL_SCALE = ".LayerNorm.residual_scale"  # what `crossrank quantize --calibrate` writes beside a norm
TOLERANCE = 1e-4  # what an engine may differ by
PROOF = 10 * TOLERANCE  # what a mistake must move some logit by
MAX_BYTES = 4_000_000
NO_LIMIT = int(1e30)  # what transformers writes as model_max_length of a tokenizer without one
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB_SIZE = 576
# Functions a reader may take one for another. gelu_pytorch_tanh and gelu_new are one function, so they share a row.
ACTIVATIONS = [("gelu",), ("gelu_new", "gelu_pytorch_tanh"), ("relu",), ("silu",)]

# Gains of the linear layers on inputs of size one, by a part of the name. Attention scores and activations reach
# several units, and what the layers add to the residual outweighs it, so that [CLS] tells one pair from another.
GAINS = {
    "query": 1.3,
    "key": 1.3,
    "value": 2.0,
    "attention.output": 2.0,
    "intermediate": 1.5,
    "output": 3.0,
    "pooler": 0.8,
    "classifier": 8.0,
}

Json = dict[str, object]
Tensors = dict[str, torch.Tensor]


# Reading a checkpoint


def stored_tensors(folder: Path) -> Tensors:
    """All tensors of a checkpoint as they are stored, from one file or from shards."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    return {name: t for file in files for name, t in safetensors.torch.load_file(folder / file).items()}


def widened(stored: Tensors) -> Tensors:
    """The stored values in f32; an I8 tensor is multiplied by the scale of each of its rows."""
    wide: Tensors = {}
    for name, tensor in stored.items():
        if tensor.dtype == torch.int8:
            scale = stored[f"{name}_scale"].float().reshape(-1, *[1] * (tensor.dim() - 1))
            wide[name] = tensor.float() * scale
        elif name.endswith("_scale") and name.removesuffix("_scale") in stored:
            continue
        elif tensor.is_floating_point():
            wide[name] = tensor.float()
        elif not name.endswith("position_ids"):  # a buffer of old checkpoints: 0, 1, 2, …
            sys.exit(f"{name}: cannot use {tensor.dtype}")
    return wide


def canonical(name: str) -> str:
    """The name transformers gives to a stored tensor."""
    name = name.removeprefix("module.").replace("LayerNorm.gamma", "LayerNorm.weight")
    name = name.replace("LayerNorm.beta", "LayerNorm.bias")
    return name if name.startswith(("bert.", "classifier.")) else f"bert.{name}"


@dataclass
class Scorer:
    """A checkpoint in transformers, and the mistakes that can be made on purpose to prove that they show."""

    model: BertForSequenceClassification

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.float32, **changes: object) -> "Scorer":
        config = BertConfig.from_pretrained(folder)
        for key, value in changes.items():
            setattr(config, key, value)
        config.dtype = torch.float32
        model = BertForSequenceClassification._from_config(config, attn_implementation="eager").float().eval()
        tensors = {canonical(name): t for name, t in widened(stored_tensors(folder)).items()}
        if not any(name.startswith("bert.pooler.") for name in tensors):
            model.bert.pooler = None
        scales = {name: tensors.pop(name) for name in list(tensors) if name.endswith(RESIDUAL_SCALE)}
        model.load_state_dict(tensors, strict=True)
        for name, scale in scales.items():
            # BertSelfOutput and BertOutput: LayerNorm(dense(inputs) + residual).
            model.get_submodule(name.removesuffix(RESIDUAL_SCALE)).register_forward_pre_hook(
                lambda _, inputs, scale=scale: (inputs[0], inputs[1] * scale)
            )
        assert model.config._attn_implementation == "eager"
        assert all(p.dtype == torch.float32 for p in model.parameters())
        return cls(model.to(dtype))

    @torch.inference_mode()
    def states(self, pair: Json) -> tuple[torch.Tensor, ...]:
        """The output of the embeddings and of every layer, each [tokens, hidden]."""
        ids, type_ids = torch.tensor([pair["ids"]]), torch.tensor([pair["type_ids"]])
        out = self.model.bert(
            input_ids=ids,
            token_type_ids=type_ids,
            attention_mask=torch.ones_like(ids),
            output_hidden_states=True,
        )
        assert len(out.hidden_states) == self.model.config.num_hidden_layers + 1
        return tuple(state[0] for state in out.hidden_states)

    @torch.inference_mode()
    def logits(self, pair: Json, pooling: str = "as stored") -> torch.Tensor:
        """One pair at a time, so that padding has no part in it. Without a pooler the classifier reads [CLS]."""
        last = self.states(pair)[-1][None]
        pooled = last[:, 0]
        if pooling == "tanh":
            pooled = torch.tanh(pooled)
        elif pooling == "as stored" and self.model.bert.pooler is not None:
            pooled = self.model.bert.pooler(last)
        return self.model.classifier(pooled)[0]

    def all_logits(self, pairs: list[Json], pooling: str = "as stored") -> torch.Tensor:
        return torch.stack([self.logits(pair, pooling) for pair in pairs])


def length_limit(folder: Path) -> int:
    limit = json.loads((folder / "config.json").read_text("utf-8"))["max_position_embeddings"]
    settings = folder / "tokenizer_config.json"
    if settings.exists():
        limit = min(limit, int(json.loads(settings.read_text("utf-8")).get("model_max_length", limit)))
    return limit


def read_pairs(path: Path) -> list[Json]:
    # Split at "\n" only: str.splitlines would also split at U+2028 inside a text.
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def encoded(folder: Path, pairs: list[Json]) -> list[Json]:
    """The pairs with the ids and type ids of the `tokenizers` encoding, whatever blocks tokenizer.json carries."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(length_limit(folder), strategy="longest_first", direction="right")
    rows = []
    for pair in pairs:
        encoding = tokenizer.encode(pair["query"], pair["document"])
        rows.append(
            {
                "query": pair["query"],
                "document": pair["document"],
                "ids": encoding.ids,
                "type_ids": encoding.type_ids,
            }
        )
    if not any(1 in row["type_ids"] for row in rows):
        sys.exit(f"{folder.name}: no pair has segment 1")
    return rows


def with_logits(scorer: Scorer, rows: list[Json]) -> Iterator[Json]:
    for row in rows:
        # numpy prints the shortest decimal that reads back as the same f32.
        yield {**row, "logits": [float(str(x)) for x in scorer.logits(row).numpy()]}


def write_jsonl(path: Path, rows: Iterator[Json]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def checkpoint(folder: Path, pairs: Path, out: Path) -> None:
    write_jsonl(out, with_logits(Scorer.load(folder), encoded(folder, read_pairs(pairs))))


# Making the fixtures


@dataclass
class Spec:
    """A small model: its shape, how it is stored, and what its files say besides."""

    name: str
    about: str
    act: str
    hidden: int
    heads: int
    inter: int
    layers: int
    positions: int
    eps: float
    other_eps: float  # what a reader might use instead
    dtype: torch.dtype = torch.float32
    labels: tuple[str, ...] = ("LABEL_0",)
    config: Json = field(default_factory=dict)
    prefix: str = ""  # before every name
    bert: str = "bert."  # before every name but the classifier's
    gamma_beta: bool = False
    pooler: bool = True
    position_ids: bool = False
    shards: int = 1
    model_max_length: int | None = 512  # None: no tokenizer_config.json
    own_blocks: bool = False  # truncation and padding in tokenizer.json
    hidden_of: tuple[int, ...] = ()  # lines whose hidden states are stored


SPECS = [
    Spec(
        "gelu-60",
        "head size 12, intermediate 100; hidden states of five pairs; `sentence_transformers.activation_fn` Sigmoid",
        "gelu", 60, 5, 100, 3, 64, 1e-12, 1e-5,
        config={
            "sentence_transformers": {
                "activation_fn": "torch.nn.modules.activation.Sigmoid",
                "version": "5.0.0",
            }
        },
        hidden_of=(0, 8, 13, 14, 21),
    ),
    Spec(
        "gelu-new-f16",
        "stored F16, with an I64 `position_ids` buffer; model_max_length 40 below 48 positions",
        "gelu_new", 64, 2, 96, 2, 48, 1e-12, 1e-5,
        dtype=torch.float16, position_ids=True, model_max_length=40,
    ),
    Spec(
        "gelu-tanh-bf16",
        "stored BF16; 33 positions",
        "gelu_pytorch_tanh", 48, 4, 104, 2, 33, 1e-5, 1e-12,
        dtype=torch.bfloat16,
    ),
    Spec(
        "relu-3-labels",
        "three labels; names begin with `module.`, LayerNorm has gamma and beta; large eps",
        "relu", 40, 2, 76, 2, 56, 0.1, 1e-12,
        labels=("contradiction", "entailment", "neutral"), prefix="module.", gamma_beta=True,
    ),
    Spec(
        "silu-1-layer",
        "one layer, head size 9, intermediate 17; names without prefix; no tokenizer_config.json; large eps",
        "silu", 36, 4, 17, 1, 32, 1e-2, 1e-12,
        bert="", model_max_length=None,
    ),
    Spec(
        "sharded",
        "three shards and an index; truncation and padding blocks in tokenizer.json; "
        "`sbert_ce_default_activation_function` Identity",
        "gelu", 64, 4, 128, 2, 64, 1e-7, 1e-5,
        config={"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
        shards=3, own_blocks=True,
    ),
    Spec(
        "no-pooler",
        "no pooler: the classifier reads the [CLS] state; model_max_length 1e30",
        "gelu", 44, 4, 90, 2, 64, 1e-12, 1e-5,
        pooler=False, model_max_length=NO_LIMIT,
    ),
]  # fmt: skip


def bert_tokenizer(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def trained_tokenizer() -> Tokenizer:
    """A WordPiece tokenizer trained on corpus.txt."""
    corpus = (HERE / "corpus.txt").read_text("utf-8").splitlines()
    draft = bert_tokenizer(models.WordPiece(unk_token="[UNK]"))
    words = {
        word
        for line in corpus
        for word, _ in draft.pre_tokenizer.pre_tokenize_str(draft.normalizer.normalize_str(line))
    }
    # The trainer numbers "##x" in the order of a hash map, and breaks ties by number: naming them beforehand makes
    # the vocabulary the same in every run. They count as special tokens only in the draft.
    pieces = sorted({f"##{letter}" for word in words for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=SPECIAL + pieces, show_progress=False, min_frequency=2
    )
    draft.train_from_iterator(corpus, trainer)
    vocab = draft.get_vocab(with_added_tokens=False)
    assert len(vocab) == VOCAB_SIZE and [vocab[token] for token in SPECIAL] == [0, 1, 2, 3, 4]

    tokenizer = bert_tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return tokenizer


def random_tensor(name: str, shape: tuple[int, ...], spec: Spec, rng: np.random.Generator) -> np.ndarray:
    """Weights under which every part of the network has a visible share in the logits."""
    noise = rng.standard_normal(shape)
    if "LayerNorm.weight" in name:
        return rng.uniform(0.6, 1.4, shape)
    if "LayerNorm.bias" in name:
        return 0.3 * noise
    if "embeddings" in name:
        return max(0.02, np.sqrt(spec.eps)) * noise  # small, so that eps shows in the first LayerNorm
    if name.endswith("bias"):
        return 0.2 * noise
    return GAINS[next(part for part in GAINS if part in name)] / np.sqrt(shape[-1]) * noise


def stored_name(name: str, spec: Spec) -> str:
    if spec.gamma_beta:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    if name.startswith("bert."):
        name = spec.bert + name.removeprefix("bert.")
    return spec.prefix + name


def write_json(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_model(folder: Path, spec: Spec, seed: int, tokenizer: Tokenizer) -> None:
    config = BertConfig(
        architectures=["BertForSequenceClassification"],
        dtype=str(spec.dtype).removeprefix("torch."),
        hidden_act=spec.act,
        hidden_size=spec.hidden,
        id2label=dict(enumerate(spec.labels)),
        label2id={label: i for i, label in enumerate(spec.labels)},
        intermediate_size=spec.inter,
        layer_norm_eps=spec.eps,
        max_position_embeddings=spec.positions,
        num_attention_heads=spec.heads,
        num_hidden_layers=spec.layers,
        vocab_size=tokenizer.get_vocab_size(),
        **spec.config,
    )
    config.save_pretrained(folder)

    # numpy's generator gives the same numbers on every processor; torch's does not promise to.
    rng = np.random.default_rng(seed)
    tensors: Tensors = {}
    for name, like in BertForSequenceClassification(config).state_dict().items():
        if spec.pooler or "pooler" not in name:
            values = torch.from_numpy(random_tensor(name, tuple(like.shape), spec, rng))
            tensors[stored_name(name, spec)] = values.to(torch.float32).to(spec.dtype)
    if spec.position_ids:
        tensors[stored_name("bert.embeddings.position_ids", spec)] = torch.arange(spec.positions)[None]
    if spec.shards == 1:
        safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    else:
        write_shards(folder, tensors, spec.shards)

    tokenizer.no_truncation()
    tokenizer.no_padding()
    if spec.own_blocks:
        tokenizer.enable_truncation(16, strategy="only_second")
        tokenizer.enable_padding(length=24)
    tokenizer.save(str(folder / "tokenizer.json"))
    if spec.model_max_length is not None:
        settings = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}
        settings |= {"do_lower_case": True, "model_max_length": spec.model_max_length}
        settings |= {"strip_accents": None, "tokenize_chinese_chars": True, "tokenizer_class": "BertTokenizer"}
        write_json(folder / "tokenizer_config.json", dict(sorted(settings.items())))


def write_shards(folder: Path, tensors: Tensors, count: int) -> None:
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for i in range(count):
        file = f"model-{i + 1:05}-of-{count:05}.safetensors"
        part = names[len(names) * i // count : len(names) * (i + 1) // count]
        safetensors.torch.save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))},
    )


def write_hidden(folder: Path, spec: Spec, scorer: Scorer, rows: list[Json]) -> None:
    tensors: Tensors = {}
    for i in spec.hidden_of:
        for layer, state in enumerate(scorer.states(rows[i])):
            # Of the last layer only [CLS] is used, and an engine need not compute the rest.
            kept = state[:1] if layer == spec.layers else state
            tensors[f"pair.{i}.layer.{layer}"] = kept.clone()
    safetensors.torch.save_file(tensors, folder / "hidden.safetensors")


def spread_and_reach(scorer: Scorer, rows: list[Json]) -> str:
    """Fails for a model too tame to tell anything: equal logits, or activations that never leave their middle."""
    inputs: list[torch.Tensor] = []
    for layer in scorer.model.bert.encoder.layer:
        layer.intermediate.dense.register_forward_hook(lambda _module, _in, out: inputs.append(out.flatten()))
    logits = scorer.all_logits(rows)
    low, high = torch.cat(inputs).aminmax()
    spread = logits.std(0).min().item()
    if spread < 0.5 or low > -3 or high < 3:
        sys.exit(f"logits spread {spread:.2f}, activations from {low:.1f} to {high:.1f}")
    return (
        f"logits {logits.min():.2f} to {logits.max():.2f}, deviation {spread:.2f}; "
        f"activation inputs {low:.1f} to {high:.1f}"
    )


def prove(folder: Path, spec: Spec, rows: list[Json]) -> None:
    """Shows that the stored logits tell the right computation from its likely mistakes."""
    right = Scorer.load(folder)
    logits = right.all_logits(rows)
    print(f"{spec.name}: {spread_and_reach(Scorer.load(folder), rows)}")

    exact = Scorer.load(folder, torch.float64).all_logits(rows)
    error = (exact - logits).abs().max().item()
    print(f"  {'f32 against f64':36} {error:.1e}")
    if error > TOLERANCE / 10:
        sys.exit("rounding alone takes too much of the tolerance")

    mistakes = {}
    for group in ACTIVATIONS:
        if spec.act not in group:
            mistakes[f"activation {spec.act} -> {group[0]}"] = Scorer.load(folder, hidden_act=group[0]).all_logits(rows)
    other = Scorer.load(folder, layer_norm_eps=spec.other_eps)
    mistakes[f"eps {spec.eps:g} -> {spec.other_eps:g}"] = other.all_logits(rows)
    mistakes["segments zeroed"] = right.all_logits([{**row, "type_ids": [0] * len(row["ids"])} for row in rows])
    if spec.pooler:
        mistakes["pooler dropped"] = right.all_logits(rows, "dropped")
    else:
        mistakes["tanh where there is no pooler"] = right.all_logits(rows, "tanh")
    for mistake, moved in mistakes.items():
        movement = (moved - logits).abs().max().item()
        print(f"  {mistake:36} moves a logit by {movement:.2e}")
        if movement < PROOF:
            sys.exit(f"{spec.name}: {mistake} moves no logit by {PROOF}")


def fixtures_readme(count: int) -> str:
    table = "\n".join(
        f"| `{s.name}` | {s.act} | {s.layers} | {s.hidden} | {s.heads} | {s.inter} | {s.positions} | {s.eps:g} "
        f"| {s.about} |"
        for s in SPECS
    )
    modules = (np, safetensors, tokenizers, torch, transformers)
    versions = ", ".join(f"{m.__name__} {m.__version__.split('+')[0]}" for m in modules)
    return f"""# Fixtures

Written by `tools/reference/reference.py`; do not edit. Each folder is a small random checkpoint as found on the Hugging Face
hub, with `reference.jsonl`: {count} pairs, one a line, with the token ids and type ids of `tokenizers` and the logits of
`transformers` (f32, eager attention, one pair at a time, on the stored values widened to f32). Tolerance: {TOLERANCE:g}.

| model | activation | layers | hidden | heads | intermediate | positions | eps | besides |
|---|---|---|---|---|---|---|---|---|
{table}

`gelu-60/hidden.safetensors` holds hidden states: `pair.<i>.layer.<l>`, `i` the line of `reference.jsonl` from 0, `l` = 0 the
embeddings after LayerNorm, then the output of each layer; of the last layer only the [CLS] row.

Made with {versions}. To make them anew:

    pip install -r tools/reference/requirements.txt
    python tools/reference/reference.py fixtures tests/fixtures

Beside them, for the {len(read_pairs(HERE / "default_pairs.jsonl"))} pairs of `tools/reference/default_pairs.jsonl`: `default-model.jsonl` has the logits of the widened tensors of
`models/default`, `default-source.jsonl` those of the F16 model that it was made from. The texts were written for this
project, 80 of the pairs as its set `everyday` (queries with passages that answer them and passages that only share their
words), and are free to use under its licences. `tools/reference/README.md` says how both files are made.

The folders of other families are listed in `families.md`, and what each of their details is worth in `mutations.md`.
"""


def fixtures(out: Path) -> None:
    tokenizer = trained_tokenizer()
    pairs = read_pairs(HERE / "fixture_pairs.jsonl")
    for seed, spec in enumerate(SPECS, start=1):
        folder = out / spec.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_model(folder, spec, seed, tokenizer)
        scorer, rows = Scorer.load(folder), encoded(folder, pairs)
        write_jsonl(folder / "reference.jsonl", with_logits(scorer, rows))
        if spec.hidden_of:
            write_hidden(folder, spec, scorer, rows)
        prove(folder, spec, rows)
    (out / "README.md").write_text(fixtures_readme(len(pairs)), "utf-8")
    own = [path for spec in SPECS for path in (out / spec.name).iterdir()]
    size = sum(path.stat().st_size for path in own)
    print(f"{size:,} bytes in {out}")
    if size > MAX_BYTES:
        sys.exit(f"more than {MAX_BYTES:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("fixtures", help="make the small models, their references and the proofs")
    command.add_argument("out", type=Path, metavar="OUT_DIR")
    command = commands.add_parser("checkpoint", help="make references for a checkpoint folder")
    command.add_argument("folder", type=Path, metavar="MODEL_DIR")
    command.add_argument("pairs", type=Path, metavar="PAIRS.jsonl")
    command.add_argument("out", type=Path, metavar="OUT.jsonl")
    options = parser.parse_args()

    torch.set_num_threads(1)  # the number of threads decides the order of sums
    if options.command == "fixtures":
        fixtures(options.out)
    else:
        checkpoint(options.folder, options.pairs, options.out)


if __name__ == "__main__":
    main()

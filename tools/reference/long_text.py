#!/usr/bin/env python3
"""Texts near 8,000 tokens: what transformers says of them, and what the engine does.

    long_text.py fixture FIXTURES_DIR          writes `long.jsonl` beside the ModernBERT fixtures
    long_text.py check FIXTURES_DIR BINARY     compares `crossrank` with larger models, ModernBERT and XLM-R with windows
                                               of 8,192 tokens, and writes `long.md`

Both compare in f32 with eager attention, one pair at a time. The texts follow a rule, so that a test can make them again:
word `i` is the entry `(i*i + seed*i + i//7) mod n` of `WORDS`, and a full stop follows every eleventh.

torch makes the angles of rotary positions in f32, which near 8,192 tokens is off by some 1e-4 of a cosine; hence the
tolerance. `check` also says how far transformers in f64 is from itself in f32.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
import transformers

import family_models
import family_tokenizers as tokenizers
from family_models import Spec
from family_specs import FAIRSEQ_IDS, MODERNBERT_GAINS, ONE_LABEL, VERSION
from reference import Json, write_json

TOLERANCE = 1e-3
# Logits of different texts must differ by more, or nothing is shown.
LEAST_SPREAD = 0.1
WINDOW = 8192
TOKENS = 8000
SEEDS = (1, 2, 3)
CHECKED = 2  # texts, of the larger models
QUERY = "where do rivers go"
WORDS = (
    "river water stone bread iron copper heat light salt sea wind night bird train bridge lamp honey wool tea paper "
    "engine winter valley harbour"
).split()


def text(seed: int, words: int) -> str:
    chosen = [WORDS[(i * i + seed * i + i // 7) % len(WORDS)] for i in range(words)]
    return " ".join(word + ("." if i % 11 == 10 else "") for i, word in enumerate(chosen))


MODERNBERT = Spec(
    "long-modernbert",
    "",
    {
        "architectures": ["ModernBertForSequenceClassification"],
        "model_type": "modernbert",
        "hidden_activation": "gelu",
        "hidden_size": 96,
        "num_attention_heads": 3,
        "num_hidden_layers": 6,
        "intermediate_size": 144,
        "max_position_embeddings": WINDOW,
        "norm_eps": 1e-5,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "classifier_bias": False,
        "classifier_pooling": "cls",
        "classifier_activation": "gelu",
        "local_attention": 128,
        "layer_types": ["sliding_attention" if i % 3 else "full_attention" for i in range(6)],
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 160_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        "bos_token_id": 416, "cls_token_id": 416, "eos_token_id": 417, "sep_token_id": 417, "pad_token_id": 418,
        **ONE_LABEL, **VERSION,
    },
    partial(tokenizers.modernbert, 420),
    window=WINDOW,
    scale=0.02,
    model_max_length=WINDOW,
    gains=MODERNBERT_GAINS,
)  # fmt: skip
XLMR = Spec(
    "long-xlmr",
    "",
    {
        "architectures": ["XLMRobertaForSequenceClassification"],
        "model_type": "xlm-roberta",
        "hidden_act": "gelu",
        "hidden_size": 96,
        "num_attention_heads": 3,
        "num_hidden_layers": 3,
        "intermediate_size": 144,
        "max_position_embeddings": WINDOW + 2,
        "layer_norm_eps": 1e-5,
        "type_vocab_size": 1,
        **ONE_LABEL, **VERSION, **FAIRSEQ_IDS,
    },
    partial(tokenizers.xlmr, 600),
    window=WINDOW,
    scale=0.02,
    model_max_length=WINDOW,
)  # fmt: skip


def fitting(folder: Path, spec: Spec) -> list[Json]:
    """A text of each seed, as long as `TOKENS` allow, with its ids."""
    words = TOKENS
    while len(family_models.encoded(folder, spec, [{"query": QUERY, "document": text(1, words)}])[0]["ids"]) >= TOKENS:
        words -= 100
    pairs = [{"query": QUERY, "document": text(seed, words)} for seed in SEEDS]
    return [row | {"seed": seed, "words": words} for seed, row in zip(SEEDS, family_models.encoded(folder, spec, pairs))]


def said(folder: Path, spec: Spec, rows: list[Json]) -> tuple[list[float], float]:
    """The logits, and how far those of f64 are from them."""
    model = family_models.load(folder)
    logits = family_models.logits(model, spec, rows)
    spread = (logits.max() - logits.min()).item()
    assert spread > LEAST_SPREAD, f"{spec.name}: logits {logits.flatten().tolist()}"
    exact = family_models.logits(model.double(), spec, rows[:1])
    return logits[:, 0].tolist(), (exact[0] - logits[0]).abs().max().item()


def instruction_sets(binary: str) -> list[str]:
    """Those of this machine, which the refusal of an unknown one lists."""
    done = subprocess.run(
        [binary, "inspect"], env=os.environ | {"CROSSRANK_ISA": "none"}, capture_output=True, text=True, check=False
    )
    listed = done.stderr.split("available on this machine are ")
    assert len(listed) == 2, done.stderr
    return [name.strip() for name in listed[1].strip().split(",")]


def scored(binary: str, isa: str, folder: Path, rows: list[Json]) -> list[float]:
    """The engine's logits in f32."""
    lines = "".join(json.dumps({key: row[key] for key in ("query", "document")}) + "\n" for row in rows)
    command = [binary, "score", "--model", str(folder), "--dtype", "f32"]
    environment = os.environ | {"CROSSRANK_ISA": isa}
    done = subprocess.run(command, input=lines, env=environment, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for line, row in zip(found, rows, strict=True):
        assert (line["tokens"], line["truncated"]) == (len(row["ids"]), False), line
    return [line["logits"][0] for line in found]


HEAD = f"""# Texts near 8,000 tokens

Written by `tools/reference/long_text.py check`; do not edit. Random models with windows of {WINDOW} tokens, in f32: the worst
|delta| of the engine's logits from transformers {transformers.__version__} (eager attention, one pair at a time), on each
instruction set of the machine. {TOLERANCE:g} is allowed, since torch makes rotary angles in f32.

| model | layers x hidden | tokens | logits | transformers: f32 and f64 | instruction set | worst delta |
|---|---|---|---|---|---|---|
"""


def check(fixtures: Path, binary: str) -> None:
    failed, lines = False, []
    for seed, spec in enumerate((MODERNBERT, XLMR), start=41):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            family_models.write_checkpoint(folder, spec, seed)
            rows = fitting(folder, spec)[:CHECKED]
            right, rounding = said(folder, spec, rows)
            size = f"{spec.config['num_hidden_layers']} x {spec.config['hidden_size']}"
            tokens = ", ".join(str(len(row["ids"])) for row in rows)
            logits = ", ".join(f"{logit:.3f}" for logit in right)
            about = f"| {spec.name} | {size} | {tokens} | {logits} | {rounding:.1e}"
            for isa in instruction_sets(binary):
                worst = max(abs(a - b) for a, b in zip(scored(binary, isa, folder, rows), right, strict=True))
                lines.append(f"{about} | {isa} | {worst:.1e} |")
                print(lines[-1], flush=True)
                failed |= not worst <= TOLERANCE
    (fixtures / "long.md").write_text(HEAD + "\n".join(lines) + "\n", "utf-8")
    if failed:
        sys.exit(f"more than {TOLERANCE:g}")


def fixture(fixtures: Path) -> None:
    """Of the ModernBERT fixtures with a window of 8,192: their weights have no positions, so that nothing else changes."""
    for name, spec in (("modernbert", MODERNBERT), ("modernbert-old", MODERNBERT)):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(shutil.copytree(fixtures / name, Path(temporary) / name))
            config = json.loads((folder / "config.json").read_text("utf-8"))
            write_json(folder / "config.json", config | {"max_position_embeddings": WINDOW})
            rows = fitting(folder, spec)
            right, rounding = said(folder, spec, rows)
        print(f"{name}: {len(rows[0]['ids'])} tokens, logits {right}, f32 and f64 differ by {rounding:.1e}")
        kept = ("query", "seed", "words")
        lines = [
            {key: row[key] for key in kept} | {"tokens": len(row["ids"]), "logits": [logit]}
            for row, logit in zip(rows, right)
        ]
        (fixtures / name / "long.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("check", "fixture"))
    parser.add_argument("fixtures", type=Path, metavar="FIXTURES_DIR")
    parser.add_argument("binary", nargs="?", metavar="BINARY")
    options = parser.parse_args()
    if (options.command == "check") != (options.binary is not None):
        parser.error("a binary goes with `check`, and with nothing else")
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)  # the number of threads decides the order of sums
    if options.command == "check":
        check(options.fixtures, options.binary)
    else:
        fixture(options.fixtures)


if __name__ == "__main__":
    main()

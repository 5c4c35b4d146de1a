#!/usr/bin/env python3
"""Small random checkpoints of the families beside BERT, with what transformers or sentence-transformers says of them.

    families.py OUT_DIR [NAME ...]     all fixtures, or those named
"""

import argparse
import shutil
import sys
import zlib
from pathlib import Path

import numpy
import safetensors
import sentence_transformers
import tokenizers
import torch
import transformers

import family_models
import family_modular
from family_models import Spec
from family_modular import ModularSpec
from family_specs import SPECS
from reference import HERE, Json, read_pairs, write_jsonl

MAX_MODEL = 350_000  # bytes
LEAST_SPREAD = 1.0  # of a label's logits, from the lowest to the highest
MOST_ROUNDING = 2e-5  # f32 against f64

LISTING = """# Fixtures of families beside BERT's sequence classifier

Written by `tools/reference/families.py`; do not edit. Each folder is a small random checkpoint with 24 or 32 pairs in
`reference.jsonl`, as described in README.md: ids, type ids, and logits in f32 with eager attention, one pair at a time, on the
stored values widened to f32. Those of `modular`, `modular-mean` and `modular-prompt` are what sentence-transformers'
`CrossEncoder.predict` gives without its activation. `mutations.md` says what a mistake in each detail is worth.

The ids are those of tokenizer.json's own pipeline and pair template, and those of `AutoTokenizer`: both are compared when the
files are made. Texts are cut longest first to the window in the table, an empty document keeps its separator. The type ids are
those of the template for BERT, ELECTRA and ALBERT, and 0 for the models that take none. For ALBERT that is how its checkpoints
were trained; transformers 5.23 on its own runs every ALBERT with type 0 throughout.

Where there is a `hidden.safetensors`, `pair.<i>.layer.<l>` is, for `l` = 0, what enters the first layer (ELECTRA and ALBERT:
after the projection), then what leaves each layer; of the last layer the first token only. ModernBERT's last is the sum of its
residual, before `final_norm`. ALBERT's are counted by layer, not by group.

`long.jsonl` beside the ModernBERT fixtures has the logits of texts near 8,000 tokens, with a window of 8,192, and
`tools/reference/long_text.py` their rule. In November 2026 the engine was within 1.2e-5 of them on portable, avx2, avx512 and amx.

| model | class | layers | hidden | heads | intermediate | window | besides |
|---|---|---|---|---|---|---|---|
{rows}

Made with {versions}.
"""


def pairs(spec: Spec) -> list[Json]:
    """All pairs, or those that a small fixture has."""
    every = read_pairs(HERE / "fixture_pairs.jsonl") + read_pairs(HERE / "family_pairs.jsonl")
    return [every[i] for i in spec.lines] if spec.lines else every


def library(spec: Spec):
    """The module that writes, loads and runs a fixture."""
    return family_modular if isinstance(spec, ModularSpec) else family_models


def make(out: Path, spec: Spec, seed: int) -> None:
    folder = out / spec.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    models = library(spec)
    models.write_checkpoint(folder, spec, seed)
    rows = family_models.encoded(folder, spec, pairs(spec))
    found = models.logits(models.load(folder), spec, rows)
    write_jsonl(folder / "reference.jsonl", [row | {"logits": values.tolist()} for row, values in zip(rows, found)])
    if spec.hidden_of:
        family_models.write_hidden(folder, spec, rows)
    check(folder, spec, rows, found)


def check(folder: Path, spec: Spec, rows: list[Json], found: torch.Tensor) -> None:
    """Fails for a model that is too tame, too wild or too large."""
    models = library(spec)
    exact = models.logits(models.load(folder).double(), spec, rows)
    rounding = (exact - found).abs().max().item()
    spread = (found.max(0).values - found.min(0).values).min().item()
    size = (folder / "model.safetensors").stat().st_size
    lengths = sorted(len(row["ids"]) for row in rows)
    print(
        f"{spec.name}: {len(rows)} pairs of {lengths[0]} to {lengths[-1]} tokens, logits {found.min():.2f} to "
        f"{found.max():.2f}, rounding {rounding:.1e}, {size:,} bytes"
    )
    if rounding > MOST_ROUNDING or spread < LEAST_SPREAD or size > MAX_MODEL:
        sys.exit(f"{spec.name}: rounding {rounding:.1e}, spread {spread:.2f}, {size:,} bytes")


def listing() -> str:
    """What families.md says: one row a fixture."""
    rows = []
    for spec in SPECS:
        config = spec.config
        keys = [("num_hidden_layers", "n_layers"), ("hidden_size", "dim"), ("num_attention_heads", "n_heads")]
        keys.append(("intermediate_size", "hidden_dim"))
        sizes = [str(config.get(key, config.get(other))) for key, other in keys]
        cells = [f"`{spec.name}`", str(config["architectures"][0]), *sizes, str(spec.window), spec.about]
        rows.append("| " + " | ".join(cells) + " |")
    packages = (numpy, safetensors, sentence_transformers, tokenizers, torch, transformers)
    versions = ", ".join(f"{m.__name__} {m.__version__.split('+')[0]}" for m in packages)
    return LISTING.format(rows="\n".join(rows), versions=versions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)  # the number of threads decides the order of sums
    for spec in SPECS:
        if not options.names or spec.name in options.names:
            make(options.out, spec, zlib.crc32(spec.name.encode()))
    (options.out / "families.md").write_text(listing(), "utf-8")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Small random checkpoints of the families beside BERT, with what transformers or sentence-transformers says of them.

    families.py OUT_DIR [NAME ...]     all fixtures, or those named
"""

import argparse
import shutil
import sys
import zlib
from pathlib import Path

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


def pairs() -> list[Json]:
    return read_pairs(HERE / "fixture_pairs.jsonl") + read_pairs(HERE / "family_pairs.jsonl")


def library(spec: Spec):
    """The module that writes, loads and runs a fixture."""
    return family_modular if isinstance(spec, ModularSpec) else family_models


def make(out: Path, spec: Spec, seed: int) -> None:
    folder = out / spec.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    models = library(spec)
    models.write_checkpoint(folder, spec, seed)
    rows = family_models.encoded(folder, spec, pairs())
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


if __name__ == "__main__":
    main()

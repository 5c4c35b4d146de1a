#!/usr/bin/env python3
"""What each detail of a family is worth: the largest change of a logit when the detail alone is got wrong.

    mutations.py FIXTURES_DIR [NAME ...]     writes FIXTURES_DIR/mutations.md, or prints what is said of those named

Each mistake is made in the model as transformers or sentence-transformers loaded it, and the stored pairs are run anew.
The command fails where a mistake moves no logit by ten times the tolerance: then the fixture would let it pass.
"""

import argparse
import multiprocessing
import sys
from contextlib import ExitStack
from pathlib import Path

import torch
import transformers

from families import library
from family_specs import SPECS
from mutation_kinds import Mistake
from mutations_by_family import mistakes
from reference import PROOF, TOLERANCE, read_pairs

HEAD = f"""# Mistakes that the families' fixtures tell

Written by `tools/reference/mutations.py`; do not edit. Each row changes one detail of the model that `transformers` or
`sentence-transformers` loaded, and says by how much that moves the logit which it moves most, over all stored pairs.
An engine may differ by {TOLERANCE:g}; a mistake must move some logit by {PROOF:g}, or the command fails.
"""


def moved_by(folder: Path, spec, mistake: Mistake, rows, right: torch.Tensor) -> float:
    models = library(spec)
    model = models.load(folder)
    with ExitStack() as stack:
        mistake.make(model, stack)
        return (models.logits(model, spec, rows) - right).abs().max().item()


def prepare() -> None:
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)


def table(folder: Path, spec) -> str:
    rows = read_pairs(folder / "reference.jsonl")
    right = torch.tensor([row["logits"] for row in rows])
    again = library(spec).logits(library(spec).load(folder), spec, rows)
    assert (again - right).abs().max() < TOLERANCE / 5, f"{spec.name}: the stored logits are another model's"
    lines = [f"\n## `{spec.name}`\n", "| mistake | moves a logit by |", "|---|---|"]
    for mistake in mistakes(spec):
        moved = moved_by(folder, spec, mistake, rows, right)
        lines.append(f"| {mistake.name} | {moved:.2g}{'' if moved >= PROOF else ' **too little**'} |")
    return "\n".join(lines) + "\n"


def named_table(folder: Path, name: str) -> str:
    """A spec has functions that cannot be sent to another process, so that its name is."""
    return table(folder / name, next(spec for spec in SPECS if spec.name == name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FIXTURES_DIR")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    specs = [spec for spec in SPECS if not options.names or spec.name in options.names]
    with multiprocessing.Pool(2, prepare) as pool:
        text = HEAD + "".join(pool.starmap(named_table, [(options.folder, spec.name) for spec in specs], 1))
    if options.names:
        print(text)
    else:
        (options.folder / "mutations.md").write_text(text, "utf-8")
    if "too little" in text:
        sys.exit("\n".join(line for line in text.splitlines() if "too little" in line or line.startswith("##")))


if __name__ == "__main__":
    main()

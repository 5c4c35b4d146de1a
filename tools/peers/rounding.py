#!/usr/bin/env python3
"""How far bf16 and int8 move the logits of each family, on random models of a middle size: |logit - f32's logit| over the
standard deviation of f32's logits, which PyTorch's are compared with first.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from peers import machine, random_family
from peers.comparison import say
from peers.crossrank import Crossrank
from peers.defaults import CALIBRATIONS, PEERS_README, RECORDS, SHARED
from peers.errors import SetupError, exit_code
from peers.family_sizes import MIDDLES, Family
from peers.judged import lines
from peers.options import positive, shared, words
from peers.process import Worker
from peers.record import around, insert, new_record, write_record
from peers.scores import Expected, compare, refuse_wrong
from peers.settings import REFERENCE
from peers.table import row
from peers.texts import Pairs

LEAST_PAIRS = 200
DTYPES = ("bf16", "int8")
# How many pairs PyTorch runs, too.
CHECKED = 20


def parse() -> argparse.Namespace:
    """The command line."""
    p = shared("Say how far bf16 and int8 move random families' logits.", RECORDS / "rounding.json", "the record")
    p.add_argument(
        "--judged", type=Path, default=SHARED / "data/everyday", metavar="DIR", help="pairs (default: %(default)s)"
    )
    p.add_argument("--pairs", type=positive(int), default=240, metavar="N", help="how many (default: %(default)s)")
    p.add_argument("--only", type=words, default=[], metavar="NAME,...", help="only these models")
    p.set_defaults(readme=PEERS_README)
    return p.parse_args()


def judged_pairs(folder: Path, count: int) -> Pairs:
    """The first pairs that are judged, relevant or not."""
    queries = dict(line.split("\t", 1) for line in lines(folder / "queries.tsv"))
    documents = {found["id"]: found["text"] for line in lines(folder / "corpus.jsonl") if (found := json.loads(line))}
    listed = [line.split() for line in lines(folder / "qrels.txt")][:count]
    return [(queries[query], documents[document]) for query, _, document, _ in listed]


def moved(f32: np.ndarray, other: np.ndarray) -> dict:
    """Mean and worst, in parts of the deviation."""
    parts = np.abs(other - f32) / f32.std()
    return {"mean": float(f"{parts.mean():.3g}"), "worst": float(f"{parts.max():.3g}")}


def pooled(family: Family) -> str:
    """Which rows of the last layer reach the head."""
    return "mean" if family.config.get("classifier_pooling") == "mean" and not family.modular else "first token"


def measure(family: Family, options: argparse.Namespace, pairs: Pairs) -> dict:
    """One model."""
    model = random_family.ensure(family, options.prepared / "checkpoints", CALIBRATIONS, None)
    crossrank = Crossrank(options.crossrank, model, options.threads)
    f32 = np.array(crossrank.score("f32", pairs), np.float64)[:, 0]
    log = options.prepared / f"{family.name}.log"
    with Worker(REFERENCE, model.resolve(), options.prepared.resolve(), options.threads, log) as worker:
        expected = Expected("PyTorch f32", [pairs[:CHECKED]], np.array(worker.score(pairs[:CHECKED])))
    checked = compare(expected, f32[:CHECKED, None].tolist())
    refuse_wrong("f32", [checked])
    found = {dtype: moved(f32, np.array(crossrank.score(dtype, pairs), np.float64)[:, 0]) for dtype in DTYPES}
    shown = ", ".join(f"{dtype} mean {each['mean']}, worst {each['worst']}" for dtype, each in found.items())
    deviation = float(f"{f32.std():.4g}")
    say(f"{family.name}: deviation {deviation}, f32 off by {checked['worst']}; {shown}")
    about = {"name": family.name, "sizes": family.sizes, "pooled": pooled(family), "pairs": len(pairs)}
    return about | {"deviation": deviation, "f32_worst": checked["worst"], **found}


def table(record: dict) -> list[str]:
    """What stands between the markers."""
    head = ["random weights", "layers x hidden", "pooled", "deviation of f32's logits", "bf16", "int8"]
    shown = [row(head), row(["---"] * 3 + ["---:"] * 3)]
    for model in record["models"]:
        cells = [f"{100 * model[dtype]['mean']:.2f} % / {100 * model[dtype]['worst']:.1f} %" for dtype in DTYPES]
        size = f"{model['sizes']['num_hidden_layers']} x {model['sizes']['hidden_size']}"
        shown.append(row([model["name"], size, model["pooled"], f"{model['deviation']:.3g}", *cells]))
    pairs = record["models"][0]["pairs"]
    return [
        *shown,
        "",
        f"Random weights. Mean / worst |logit - f32's logit| over the standard deviation of f32's logits on {pairs} pairs,"
        f" int8 without calibration; {record['date']}, {record['machine']['cpu']}, crossrank on {record['isa']}.",
        "",
        f"    {record['command']}",
    ]


def run(options: argparse.Namespace) -> None:
    """All models, into one record."""
    if options.pairs < LEAST_PAIRS:
        raise SetupError(f"--pairs {options.pairs}: at least {LEAST_PAIRS}, or the deviation says little")
    if not options.no_readme:
        around(options.readme, "rounding")
    unknown = set(options.only) - {family.name for family in MIDDLES}
    if unknown:
        raise SetupError(f"--only {', '.join(sorted(unknown))}: expected some of {', '.join(f.name for f in MIDDLES)}")
    pairs = judged_pairs(options.judged, options.pairs)
    if len(pairs) < options.pairs:
        raise SetupError(f"--judged {options.judged}: {len(pairs)} pairs, expected {options.pairs}")
    options.prepared.mkdir(parents=True, exist_ok=True)
    chosen = [family for family in MIDDLES if not options.only or family.name in options.only]
    models = [measure(family, options, pairs) for family in chosen]
    crossrank = Crossrank(options.crossrank, options.model, options.threads)
    record = new_record("rounding", {"threads": options.threads}, models, crossrank.version())
    record["isa"] = machine.instruction_set(options.crossrank)
    write_record(record, options.out)
    print("\n".join(table(record)))
    if not options.no_readme:
        insert(options.readme, "rounding", table(record))


if __name__ == "__main__":
    sys.exit(exit_code("rounding", lambda: run(parse())))

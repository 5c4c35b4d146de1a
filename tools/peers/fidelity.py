#!/usr/bin/env python3
"""Holds our int8, that of OpenVINO and of ONNX Runtime, and OpenVINO's bf16 against f32 on the same pairs: how far each
ranks like the model that it was made from. The record and the README's table come from the same figures.

Arguments after `--` go to `crossrank quantize`, as in `fidelity.py -- --calibrate FILE`.
"""

import argparse
import sys
from pathlib import Path

from peers.crossrank import Crossrank
from peers.defaults import CALIBRATIONS, EVAL_DIRS, RECORDS
from peers.errors import exit_code
from peers.fidelity import Fidelity, Plan, held_out
from peers.machine import cut
from peers.options import check, positive, shared
from peers.record import new_record, read_record, report, write_record


def parse(words: list[str]) -> argparse.Namespace:
    """The command line: ours up to `--`, that of `crossrank quantize` after it."""
    end = words.index("--") if "--" in words else len(words)
    p = shared("Hold int8 rankings against those of f32.", RECORDS / "fidelity.json", "the record")
    p.usage = "%(prog)s [options] [EVAL_DIR ...] [-- QUANTIZE_OPTION ...]"
    p.add_argument(
        "sets",
        nargs="*",
        type=Path,
        metavar="EVAL_DIR",
        help="corpus.jsonl, queries.tsv and qrels.txt, as `crossrank quantize --verify` reads them"
        f" (default: {' '.join(map(str, EVAL_DIRS))})",
    )
    p.add_argument("--queries", type=positive(int), metavar="N", help="the first N of each set only, for a short look")
    p.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="JSONL with `text`, for OpenVINO's int8, none of a set's own texts"
        f" (default: for each set the first of {', '.join(map(str, CALIBRATIONS))} that has none)",
    )
    options = p.parse_args(words[:end])
    options.quantize = words[end + 1 :]
    return options


def measure(options: argparse.Namespace) -> None:
    """One set after the other, into one record."""
    check(options, "fidelity")
    version = Crossrank(options.crossrank, options.model, options.threads).version()
    folders = options.sets or EVAL_DIRS
    calibrations = [options.calibration] if options.calibration else CALIBRATIONS
    held = [held_out(folder, calibrations) for folder in folders]
    found = []
    for folder, calibration in zip(folders, held, strict=True):
        name = options.model.resolve().name
        # The other commands' folder for what they would make alike; another set of texts makes another model.
        if calibration != CALIBRATIONS[0]:
            name += f"-{calibration.resolve().parent.name}-{calibration.stem}"
        plan = Plan(
            model=options.model,
            folder=folder,
            binary=options.crossrank,
            prepared=options.prepared / name,
            calibration=calibration,
            threads=options.threads,
            queries=options.queries,
            quantize=options.quantize,
        )
        found.append(Fidelity(plan).run())
    asked = {"threads": options.threads, "queries": options.queries, "quantize": [cut(w) for w in options.quantize]}
    about = {"model": options.model.resolve().name}
    write_record(new_record("fidelity", about | asked, found, version), options.out)
    print("\n".join(report(read_record(options.out), options.out, None if options.no_readme else options.readme)))


if __name__ == "__main__":
    sys.exit(exit_code("fidelity", lambda: measure(parse(sys.argv[1:]))))

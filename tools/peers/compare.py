#!/usr/bin/env python3
"""Runs crossrank, OpenVINO, ONNX Runtime and sentence-transformers by turns on the same texts in one run: scores are
compared first, then times; the record, the README's table and the plot come from the same figures.
"""

import argparse
import sys
from pathlib import Path

from peers.comparison import Comparison, Plan
from peers.defaults import RECORDS, reference_of
from peers.errors import exit_code
from peers.options import check, parser, recorded, words
from peers.record import new_record, read_record, report, write_record
from peers.settings import select
from peers.texts import read_workloads


def parse() -> argparse.Namespace:
    """The command line."""
    p = parser("Compare crossrank with other engines on the same texts.", RECORDS / "peers.json", "f32,bf16,int8", "")
    p.add_argument("--only", type=words, default=[], metavar="NAME,...", help="only these workloads")
    p.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="JSONL {query, document, logits} of this model, compared as well (default: the one in ../shared, if any)",
    )
    return p.parse_args()


def compare(options: argparse.Namespace) -> None:
    """The run."""
    check(options, "peers")
    plan = Plan(
        model=options.model,
        workloads=read_workloads(options.workloads, options.only),
        pairings=select(options.dtypes, options.peers),
        binary=options.crossrank,
        prepared=options.prepared / options.model.resolve().name,
        calibration=options.calibration,
        reference=options.reference or reference_of(options.model),
        threads=options.threads,
        seconds=options.seconds,
        rounds=options.rounds,
        lock=options.lock,
    )
    comparison = Comparison(plan)
    found = comparison.run()
    write_record(new_record("peers", recorded(options), [found], comparison.crossrank.version()), options.out)
    # Read again, so that what is shown comes from the file.
    record = read_record(options.out)
    print("\n".join(report(record, options.out, None if options.no_readme else options.readme)))


if __name__ == "__main__":
    sys.exit(exit_code("compare", lambda: compare(parse())))

#!/usr/bin/env python3
"""The same comparison on random models of other widths: hidden 128, 768 and 1024."""

import argparse
import sys

from peers import random_model
from peers.comparison import Comparison, Plan
from peers.crossrank import Crossrank
from peers.defaults import PEERS_README, RECORDS
from peers.errors import SetupError, exit_code
from peers.options import check, parser, recorded, words
from peers.random_model import WIDTHS, Width
from peers.record import new_record, read_record, report, write_record
from peers.settings import select
from peers.texts import Workload, read_workloads


def parse() -> argparse.Namespace:
    """The command line."""
    known = ",".join(str(width.hidden) for width in WIDTHS)
    p = parser("Compare on random models of other widths.", RECORDS / "widths.json", "f32,bf16", "openvino")
    p.add_argument(
        "--widths", type=words, default=words(known), metavar="H,...", help=f"hidden sizes (default: {known})"
    )
    p.set_defaults(readme=PEERS_README)
    return p.parse_args()


def chosen(hidden: list[str]) -> list[Width]:
    """The widths asked for."""
    known = {str(width.hidden): width for width in WIDTHS}
    unknown = set(hidden) - set(known)
    if unknown:
        raise SetupError(f"--widths {', '.join(sorted(unknown))}: expected some of {', '.join(known)}")
    return [known[name] for name in hidden]


def texts(width: Width, workloads: list[Workload]) -> list[Workload]:
    """A single pair, some snippets, some passages."""
    pair, snippets, passages = workloads
    return [pair, snippets.cut("snippets", width.snippets), passages.cut("passages", width.passages)]


def compare(options: argparse.Namespace) -> None:
    """One model after the other, into one record."""
    check(options, "widths")
    names = ["pair", "snippets50", "passages100"]
    read = {load.name: load for load in read_workloads(options.workloads, names)}
    pairings = select(options.dtypes, options.peers)
    version = Crossrank(options.crossrank, options.model, options.threads).version()
    found = []
    for width in chosen(options.widths):
        model = random_model.ensure(width, options.model, options.prepared / "checkpoints")
        plan = Plan(
            model=model,
            workloads=texts(width, [read[name] for name in names]),
            pairings=pairings,
            binary=options.crossrank,
            prepared=options.prepared / width.name,
            calibration=options.calibration,
            reference=None,
            threads=options.threads,
            seconds=options.seconds,
            rounds=options.rounds,
            lock=options.lock,
        )
        found.append(Comparison(plan).run())
        write_record(new_record("widths", recorded(options), found, version), options.out)
    print("\n".join(report(read_record(options.out), options.out, None if options.no_readme else options.readme)))


if __name__ == "__main__":
    sys.exit(exit_code("widths", lambda: compare(parse())))

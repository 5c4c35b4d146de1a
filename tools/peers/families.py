#!/usr/bin/env python3
"""The same comparison on random models of other families: XLM-R, ModernBERT, modular heads, DistilBERT, ELECTRA, MPNet,
ALBERT, at the sizes of published checkpoints. With `--long` also ModernBERT on documents of 8,000 tokens.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from peers import family_extras, random_family
from peers.comparison import Comparison, Plan, say
from peers.crossrank import Crossrank
from peers.defaults import CALIBRATIONS, PEERS_README, RECORDS
from peers.errors import Refused, SetupError, exit_code
from peers.family_sizes import Family, chosen
from peers.options import check, parser, positive, recorded, words
from peers.record import new_record, read_record, report, write_record
from peers.settings import FAMILY_PAIRINGS, LONG_PAIRINGS, LONG_REFERENCE, PAIRINGS, Setting, select
from peers.texts import Workload, read_workloads

NAMES = ("pair", "snippets50")
# What random weights make of a text has the same range in every text.
CALIBRATION_PAIRS = 10
LONG_MODEL = "modernbert-base"
LONG_DOCUMENTS = 2
# Tokens of the documents that the settings are told apart by, before the fastest takes the long ones.
LONG_HEAT = 2_000


def parse() -> argparse.Namespace:
    """The command line."""
    p = parser("Compare on random models of other families.", RECORDS / "families.json", "f32,bf16,int8", "")
    p.add_argument("--only", type=words, default=[], metavar="NAME,...", help="only these models")
    p.add_argument("--large", action="store_true", help="XLM-R large, too: 2.2 GB, and as much again for each artifact")
    p.add_argument("--long", action="store_true", help="documents of 8,000 tokens, too")
    p.add_argument("--no-models", action="store_true", help="with --long: those alone")
    p.add_argument("--long-tokens", type=positive(int), default=8_000, metavar="N", help="of each such document")
    p.add_argument("--snippets", type=positive(int), default=20, metavar="N", help="documents of a request")
    p.add_argument(
        "--xlmr-tokenizer",
        type=Path,
        metavar="FILE",
        help="tokenizer.json of XLM-RoBERTa's 250,002 pieces; without it one is made of the texts at hand",
    )
    p.set_defaults(readme=PEERS_README, seconds=0.3, rounds=2)
    return p.parse_args()


class Run:
    """The parts of the record, one after the other."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.models: list[dict] = []
        self.extras: dict = {}
        self.checkpoints = options.prepared / "checkpoints"
        self.version = Crossrank(options.crossrank, options.model, options.threads).version()
        pair, snippets = (
            next(load for load in read_workloads(options.workloads, list(NAMES)) if load.name == name) for name in NAMES
        )
        self.workloads = [snippets.cut("snippets", options.snippets), pair]

    def folder(self, family: Family) -> Path:
        """A family's checkpoint."""
        return random_family.ensure(family, self.checkpoints, CALIBRATIONS, self.options.xlmr_tokenizer)

    def plan(self, family: Family, workloads: list[Workload], pairings: dict[str, list[Setting]], **more: object) -> Plan:
        """What all comparisons have in common."""
        options = self.options
        return Plan(
            model=self.folder(family),
            workloads=workloads,
            pairings=pairings,
            binary=options.crossrank,
            prepared=options.prepared / family.name,
            calibration=options.calibration,
            reference=None,
            threads=options.threads,
            seconds=options.seconds,
            lock=options.lock,
            calibration_pairs=CALIBRATION_PAIRS,
            heats=True,
            **more,
        )

    def write(self) -> None:
        """The record so far: a run of an hour that fails in its last minute has not been in vain."""
        options = recorded(self.options)
        record = new_record("families", options, self.models, self.version) | {"extras": self.extras}
        write_record(record, self.options.out)

    def compare(self, family: Family) -> None:
        """One family: scores, heats, rounds."""
        say(f"== {family.name}")
        pairings = select(self.options.dtypes, self.options.peers, FAMILY_PAIRINGS if family.sdpa else PAIRINGS)
        plan = self.plan(family, self.workloads, pairings, rounds=self.options.rounds)
        self.models.append(Comparison(plan).run())
        self.write()

    def extra(self, name: str, measure: Callable[[], dict]) -> None:
        """One of the further parts; a refusal leaves the others alone."""
        say(f"== {name}")
        try:
            self.extras[name] = measure()
        except Refused as error:
            say(f"skipped: {name}: {error}")
            self.extras.setdefault("refused", []).append(f"{name} ({error})")
        self.write()

    def beside(self, families: list[Family]) -> None:
        """What is measured of ours alone."""
        options, snippets = self.options, self.workloads[0]
        if "int8" not in options.dtypes:
            return
        there = {family.name: Crossrank(options.crossrank, self.folder(family), options.threads) for family in families}
        minilm = Crossrank(options.crossrank, options.model, options.threads)
        rounds = max(3, options.rounds)
        if ettin := there.get("ettin-32m"):
            self.extra(
                "per_token", lambda: family_extras.per_token(ettin, minilm, snippets, options.seconds, rounds)
            )
        self.extras["tokenising"] = family_extras.tokenising(self.models, ("ettin-32m", "mminilm-l12"))
        if xlmr := there.get("xlmr-base"):
            self.extra("start", lambda: family_extras.start(xlmr, snippets, options.prepared, options.seconds))
        self.write()

    def long(self) -> None:
        """Documents of thousands of tokens."""
        options, query = self.options, self.workloads[0].query
        family = chosen([LONG_MODEL], large=False)[0]
        model = self.folder(family)
        long, heat = (
            family_extras.long_workload(model, query, CALIBRATIONS[-1], tokens, LONG_DOCUMENTS)
            for tokens in (options.long_tokens, min(LONG_HEAT, options.long_tokens))
        )
        pairings = {dtype: LONG_PAIRINGS[dtype] for dtype in ("f32", "int8") if dtype in options.dtypes}
        plan = self.plan(
            family, [long], pairings, rounds=1, heat_on={long.name: heat}, torch=LONG_REFERENCE, least=1
        )
        self.extra("long", Comparison(plan).run)


def compare(options: argparse.Namespace) -> None:
    """One model after the other, into one record."""
    check(options, "families")
    if options.xlmr_tokenizer and not options.xlmr_tokenizer.is_file():
        raise SetupError(f"--xlmr-tokenizer {options.xlmr_tokenizer}: no such file")
    families = chosen(options.only, large=options.large)
    run = Run(options)
    if not options.no_models:
        for family in families:
            run.compare(family)
        run.beside(families)
    if options.long:
        run.long()
    print("\n".join(report(read_record(options.out), options.out, None if options.no_readme else options.readme)))


if __name__ == "__main__":
    sys.exit(exit_code("families", lambda: compare(parse())))

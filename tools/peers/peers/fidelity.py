"""One set of texts: our int8 and the others', each held against f32 on the same pairs."""

from dataclasses import asdict, dataclass
from math import isclose
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from peers.comparison import prepare, say
from peers.crossrank import Crossrank
from peers.errors import Refused, SetupError
from peers.judged import read_queries, texts
from peers.process import Worker
from peers.ranking import Figures, Query, deviation, figures, quality
from peers.scores import Expected, compare, refuse_wrong
from peers.settings import FIDELITY, REFERENCE, Setting
from peers.texts import Pairs

# How far our two implementations of the figures may be apart.
SAME = 1e-6


@dataclass(frozen=True)
class Plan:
    """What is compared."""

    model: Path
    folder: Path
    binary: Path
    prepared: Path
    calibration: Path
    """For OpenVINO's int8; shares no text with the set."""
    threads: int
    queries: int | None
    quantize: list[str]
    """Further arguments of `crossrank quantize`."""


def held_out(folder: Path, calibrations: list[Path]) -> Path:
    """The first file of texts that has none of the set's: ranges from the very texts that are scored would flatter."""
    corpus = texts(folder / "corpus.jsonl")
    missing = [path for path in calibrations if not path.is_file()]
    if missing:
        raise SetupError(f"--calibration {missing[0]}: no such file, and OpenVINO int8 needs its texts")
    for path in calibrations:
        if not corpus & texts(path):
            return path
    raise SetupError(f"--calibration {', '.join(map(str, calibrations))}: has texts of {folder}")


def check_same(ours: dict, queries: list[Query], found: Figures) -> None:
    """Whether the Rust command printed the figures that are computed here."""
    reference = quality(queries, [query.reference for query in queries])
    counts = {
        "queries": len(queries),
        "judged_queries": sum(query.judged for query in queries),
        "pairs": sum(len(query.pairs) for query in queries),
        "logit_sd": deviation(queries),
    }
    here = counts | {f"reference.{key}": value for key, value in asdict(reference).items()}
    both = {"ndcg10", "mrr10"}
    here |= {f"other.{key}" if key in both else key: value for key, value in found.as_dict().items()}
    for key, value in here.items():
        there = ours
        for part in key.split("."):
            there = there[part]
        if not isclose(value, there, rel_tol=0, abs_tol=SAME):
            raise SetupError(f"{key}: {value} by these scripts, {there} by crossrank quantize --verify")


class Fidelity:
    """The run on one set."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rankings: list[dict] = []
        self.skipped: list[dict] = []

    def run(self) -> dict:
        """The set's part of the record."""
        plan = self.plan
        prepare(FIDELITY, plan.model, plan.prepared, plan.calibration)
        verdict, queries = self.ours()
        self.check_reference(next(query for query in queries if query.pairs))
        for setting in FIDELITY:
            try:
                self.note(setting.key, setting.engine, setting.precision, setting.hint, self.theirs(setting, queries))
            except Refused as error:
                say(f"skipped: {setting.key}: {error}")
                self.skipped.append({"who": setting.key, "reason": str(error)})
        found = verdict["figures"]
        kept = ("queries", "judged_queries", "queries_without_candidates", "pairs", "logit_sd", "reference")
        return {
            "name": plan.folder.resolve().name,
            "calibration": "/".join(plan.calibration.resolve().parts[-2:]),
            **{key: found[key] for key in kept},
            "isa": verdict["isa"],
            "passed": verdict["passed"],
            "skipped": self.skipped,
            "rankings": self.rankings,
        }

    def ours(self) -> tuple[dict, list[Query]]:
        """The verdict of `crossrank quantize --verify`, and the logits that it rests on."""
        plan = self.plan
        say(f"{plan.folder.name}: crossrank quantize --verify")
        arguments = list(plan.quantize)
        if plan.queries is not None:
            arguments += ["--queries", str(plan.queries)]
        with TemporaryDirectory() as folder:
            logits = Path(folder) / "logits.jsonl"
            crossrank = Crossrank(plan.binary, plan.model, plan.threads)
            verdict = crossrank.quantize(Path(folder) / "int8", plan.folder, logits, arguments)["fidelity"]
            queries = read_queries(plan.folder, plan.queries, logits)
        if verdict["dtype"] != "int8":
            raise SetupError(f"crossrank quantize: scored in {verdict['dtype']}, and int8 is what is compared")
        found = figures(queries, [query.quantized for query in queries])
        check_same(verdict["figures"], queries, found)
        self.note("crossrank-int8", "crossrank", "int8", None, found)
        return verdict, queries

    def check_reference(self, query: Query) -> None:
        """Our f32 is everyone's reference: it must be PyTorch's, which one query shows."""
        try:
            logits = self.score(REFERENCE, [query.pairs])[0]
            expected = Expected("PyTorch f32", [query.pairs], np.array(logits))
            refuse_wrong("f32", [compare(expected, [[logit] for logit in query.reference])])
        except Refused as error:
            raise SetupError(f"crossrank f32 is no reference: {error}") from error

    def theirs(self, setting: Setting, queries: list[Query]) -> Figures:
        """Of one setting of one engine. A query is a request, as it is in a search: what is padded to which length,
        and what shares a scale with what, depends on it.
        """
        scored = iter(self.score(setting, [query.pairs for query in queries if query.pairs]))
        logits = [[row[0] for row in next(scored)] if query.pairs else [] for query in queries]
        if not all(np.isfinite(own).all() for own in logits):
            raise Refused("logits that are not finite")
        return figures(queries, logits)

    def score(self, setting: Setting, requests: list[Pairs]) -> list[list[list[float]]]:
        """The logits of requests."""
        plan = self.plan
        say(f"{plan.folder.name}: {setting.key}")
        log = plan.prepared / f"{setting.key}.log"
        with Worker(setting, plan.model.resolve(), plan.prepared.resolve(), plan.threads, log) as worker:
            return [worker.score(request) for request in requests]

    def note(self, who: str, engine: str, precision: str, hint: str | None, found: Figures) -> None:
        """One line of the record."""
        values = {key: float(f"{value:.6g}") for key, value in found.as_dict().items()}
        say(f"{self.plan.folder.name}: {who}: {', '.join(f'{key} {value:.4f}' for key, value in values.items())}")
        self.rankings.append({"who": who, "engine": engine, "precision": precision, "hint": hint} | values)

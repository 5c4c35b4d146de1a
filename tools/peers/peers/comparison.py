"""One model: everyone's scores first, then everyone's times, by turns."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from peers.artifacts import CALIBRATION_PAIRS
from peers.crossrank import Crossrank
from peers.errors import Refused, SetupError
from peers.family_sizes import sizes
from peers.process import FOLDER, Worker
from peers.reference import kept
from peers.scores import Expected, compare, refuse_wrong, require_telling
from peers.settings import REFERENCE, Setting
from peers.texts import Pairs, Workload, read_config, read_reference, read_tokenizer

# Thread pools spin for a while after their last work; the next engine should not pay for it.
SETTLE_SECONDS = 0.1
# A setting whose heat is this many times as long as the fastest of its engine's does not become the fastest.
NEAR = 1.2


@dataclass(frozen=True)
class Plan:
    """What is compared, and how long."""

    model: Path
    workloads: list[Workload]
    pairings: dict[str, list[Setting]]
    binary: Path
    prepared: Path
    calibration: Path
    reference: Path | None
    threads: int
    seconds: float
    rounds: int
    lock: Path | None
    calibration_pairs: int = CALIBRATION_PAIRS
    heats: bool = False
    """Whether each setting runs once before, and only the fastest of each engine go through the rounds."""
    heat_on: dict[str, Workload] = field(default_factory=dict)
    """What stands in for a workload, by its name, that takes too long to run once before."""
    torch: Setting = REFERENCE
    """Whose logits everyone should compute."""
    least: int = 2
    """How many runs of the others a measurement has at least."""

    @property
    def settings(self) -> list[Setting]:
        """Each setting once."""
        return list(dict.fromkeys(s for settings in self.pairings.values() for s in settings))


def say(text: str) -> None:
    """Progress; stdout is for results."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def holding(lock: Path | None, *, timing: bool) -> Iterator[None]:
    """Holds the lock file, if there is one: exclusively while timing, shared while merely busy."""
    if lock is None:
        yield
        return
    import fcntl

    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if timing else fcntl.LOCK_SH)
        yield


def prepare(
    settings: list[Setting], model: Path, prepared: Path, calibration: Path, pairs: int = CALIBRATION_PAIRS
) -> None:
    """Has the missing artifacts made, in a process whose memory is gone afterwards."""
    names = sorted({s.artifact for s in settings if s.artifact})
    if not names:
        return
    prepared.mkdir(parents=True, exist_ok=True)
    log = prepared / "prepare.log"
    say(f"preparing {', '.join(names)} (log: {log})")
    command = [sys.executable, str(FOLDER / "prepare.py"), "--model", str(model), "--out", str(prepared)]
    command += ["--calibration", str(calibration), "--calibration-pairs", str(pairs), *names]
    with log.open("w") as output:
        if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode != 0:
            said = [line for line in log.read_text("utf-8").splitlines() if line.strip()]
            raise SetupError(f"prepare.py failed: {said[-1] if said else 'without a word'} (log: {log})")


def finalists(settings: list[Setting], workload: Workload, heats: list[dict]) -> list[Setting]:
    """The settings that go through the rounds: without heats all; else of each engine those that are near its fastest,
    with one stream only where the workload is a single pair.
    """
    if not heats:
        return settings
    times = {heat["who"]: heat["p50_ms"] for heat in heats if heat["workload"] == workload.name}
    in_question = [s for s in settings if s.key in times and not (len(workload.documents) == 1 and s.streams > 1)]
    best: dict[tuple[str, str], float] = {}
    for s in in_question:
        best[s.engine, s.precision] = min(times[s.key], best.get((s.engine, s.precision), float("inf")))
    return [s for s in in_question if times[s.key] <= NEAR * best[s.engine, s.precision]]


@dataclass
class Comparison:
    """The run, and what it has found so far."""

    plan: Plan
    skipped: list[dict] = field(default_factory=list)
    scores: list[dict] = field(default_factory=list)
    fresh: list[dict] = field(default_factory=list)
    heats: list[dict] = field(default_factory=list)
    rounds: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        plan = self.plan
        self.crossrank = Crossrank(plan.binary, plan.model, plan.threads)
        tokenizer = read_tokenizer(plan.model)
        encoded = {w.name: tokenizer.encode_batch_fast(w.pairs) for w in plan.workloads}
        self.tokens = {name: sum(len(encoding) for encoding in encodings) for name, encodings in encoded.items()}
        self.heaviest = max(plan.workloads, key=lambda w: self.tokens[w.name])

    def run(self) -> dict:
        """Everything; what it returns goes into the record."""
        with holding(self.plan.lock, timing=False):
            self.prepare()
            expected = self.expect()
        for setting in self.plan.settings:
            if not self.is_out(setting.key):
                with holding(self.plan.lock, timing=False):
                    self.try_setting(setting, expected)
        for dtype in self.plan.pairings:
            with holding(self.plan.lock, timing=False):
                self.try_dtype(dtype, expected)
        for dtype, settings in self.plan.pairings.items():
            self.time_dtype(dtype, [s for s in settings if not self.is_out(s.key)])
        return self.found()

    def prepare(self) -> None:
        """All artifacts at once; where that fails, one by one, so that those that can be made are."""
        plan = self.plan
        try:
            prepare(plan.settings, plan.model, plan.prepared, plan.calibration, plan.calibration_pairs)
        except SetupError:
            if not plan.heats:
                raise
            for name in dict.fromkeys(s.artifact for s in plan.settings if s.artifact):
                having = [s for s in plan.settings if s.artifact == name]
                try:
                    prepare(having, plan.model, plan.prepared, plan.calibration, plan.calibration_pairs)
                except SetupError as error:
                    for setting in having:
                        self.skip(setting.key, f"{name} cannot be made: {error}")

    def worker(self, setting: Setting) -> Worker:
        """A fresh process of a setting."""
        plan = self.plan
        log = plan.prepared / f"{setting.key}.log"
        return Worker(setting, plan.model.resolve(), plan.prepared.resolve(), plan.threads, log)

    def is_out(self, key: str) -> bool:
        """Whether an engine was refused."""
        return any(entry["who"] == key for entry in self.skipped)

    def skip(self, key: str, reason: str) -> None:
        """Takes an engine out."""
        say(f"skipped: {key}: {reason}")
        self.skipped.append({"who": key, "reason": reason})
        # What it did before it failed is not reported either: medians over fewer rounds are no match for the others'.
        for entry in self.rounds:
            if entry["who"] == key:
                entry["theirs"] = None
            if f"crossrank-{entry['dtype']}" == key:
                entry["ours"] = None

    def expect(self) -> list[Expected]:
        """What everyone should compute: PyTorch's logits of the workloads, and the reference file's."""
        say("scores: PyTorch f32")
        plan = self.plan
        plan.prepared.mkdir(parents=True, exist_ok=True)
        # The heaviest first, for the memory of a fresh process.
        requests = [w.pairs for w in sorted(plan.workloads, key=lambda w: -self.tokens[w.name])]
        pairs = [pair for request in requests for pair in request]
        try:
            expected = [Expected("PyTorch f32", requests, kept(plan.model, plan.prepared, pairs, self.eager))]
            require_telling(expected[0])
            if plan.reference:
                read, logits = read_reference(plan.reference)
                expected.append(Expected(plan.reference.name, [read], np.array(logits)))
                here = kept(plan.model, plan.prepared, read, self.eager)
                self.judge("PyTorch f32", "f32", lambda _: here.tolist(), expected[1:])
        except Refused as error:
            raise SetupError(f"no reference logits: {error}") from error
        return expected

    def eager(self, pairs: Pairs) -> list[list[float]]:
        """PyTorch's logits."""
        with self.worker(self.plan.torch) as worker:
            return worker.score(pairs)

    def judge(
        self, key: str, precision: str, score: Callable[[Pairs], list[list[float]]], expected: list[Expected]
    ) -> None:
        """Compares one engine's logits; raises when it must not be reported."""
        results = []
        for each in expected:
            logits = [row for request in each.requests for row in score(request)]
            results.append(compare(each, logits))
        self.scores += [{"who": key} | result for result in results]
        said = "; ".join(f"worst {r['worst']}, mean {r['mean']} of {r['against']}" for r in results)
        say(f"scores: {key}: {said}")
        refuse_wrong(precision, results)

    def try_setting(self, setting: Setting, expected: list[Expected]) -> None:
        """Loads an engine once, for its scores and for its memory after the first request."""
        try:
            with self.worker(setting) as worker:
                peaks: list[float | None] = []

                def score(pairs: Pairs) -> list[list[float]]:
                    logits = worker.score(pairs)
                    peaks.append(worker.peak_rss_mb())
                    return logits

                self.judge(setting.key, setting.precision, score, expected)
                memory = {"peak_rss_mb": peaks[0], "workload": self.heaviest.name}
                self.fresh.append({"who": setting.key, "load_ms": worker.load_ms} | memory)
                if self.plan.heats:
                    for workload in self.plan.workloads:
                        heat = self.plan.heat_on.get(workload.name, workload)
                        ms = worker.time(heat.pairs, 0.0, 1, warm=heat is workload)["p50_ms"]
                        self.heats.append({"who": setting.key, "workload": workload.name, "p50_ms": ms})
        except Refused as error:
            self.skip(setting.key, str(error))

    def try_dtype(self, dtype: str, expected: list[Expected]) -> None:
        """The same for ours."""
        key = f"crossrank-{dtype}"
        try:
            self.judge(key, dtype, lambda pairs: self.crossrank.score(dtype, pairs), expected)
        except Refused as error:
            self.skip(key, str(error))

    def time_dtype(self, dtype: str, settings: list[Setting]) -> None:
        """All rounds of one dtype. Only its engines are loaded meanwhile: large models need the memory."""
        last = {load.name: finalists(settings, load, self.heats) for load in self.plan.workloads}
        with contextlib.ExitStack() as stack:
            workers = []
            for setting in [s for s in settings if any(s in chosen for chosen in last.values())]:
                try:
                    with holding(self.plan.lock, timing=False):
                        workers.append(stack.enter_context(self.worker(setting)))
                except Refused as error:
                    self.skip(setting.key, str(error))
            for workload in self.plan.workloads:
                for number in range(self.plan.rounds):
                    say(f"timing: {dtype}, {workload.name}, round {number + 1} of {self.plan.rounds}")
                    for worker in workers:
                        if worker.setting not in last[workload.name]:
                            continue
                        with holding(self.plan.lock, timing=True):
                            self.time_pair(dtype, worker, workload, number)
                    if not workers and not self.is_out(f"crossrank-{dtype}"):
                        with holding(self.plan.lock, timing=True):
                            self.note(dtype, None, workload, number, self.time_ours(dtype, workload), None)

    def time_pair(self, dtype: str, worker: Worker, workload: Workload, number: int) -> None:
        """Ours, then theirs, right after each other: the machine drifts, and a ratio of neighbours does not."""
        ours = self.time_ours(dtype, workload)
        theirs = None
        if not self.is_out(worker.setting.key):
            try:
                theirs = worker.time(workload.pairs, self.plan.seconds, self.plan.least)
            except Refused as error:
                self.skip(worker.setting.key, str(error))
        time.sleep(SETTLE_SECONDS)
        self.note(dtype, worker.setting, workload, number, ours, theirs)

    def time_ours(self, dtype: str, workload: Workload) -> dict | None:
        """The bench line, or nothing once it was refused."""
        key = f"crossrank-{dtype}"
        if self.is_out(key):
            return None
        try:
            line = self.crossrank.time(dtype, workload, self.plan.seconds)
            if line["tokens"] != self.tokens[workload.name]:
                raise Refused(f"{workload.name}: {line['tokens']} tokens, the others {self.tokens[workload.name]}")
        except Refused as error:
            self.skip(key, str(error))
            return None
        time.sleep(SETTLE_SECONDS)
        return line

    def note(
        self,
        dtype: str,
        setting: Setting | None,
        workload: Workload,
        number: int,
        ours: dict | None,
        theirs: dict | None,
    ) -> None:
        """One line of the record."""
        if ours is None and theirs is None:
            return
        about = {"dtype": dtype, "who": setting.key if setting else None, "workload": workload.name, "round": number}
        self.rounds.append(about | {"ours": ours, "theirs": theirs})

    def found(self) -> dict:
        """The model's part of the record."""
        return {
            "name": self.plan.model.resolve().name,
            "sizes": sizes(read_config(self.plan.model)),
            "workloads": {
                w.name: {"pairs": len(w.documents), "tokens": self.tokens[w.name]} for w in self.plan.workloads
            },
            "engines": {
                s.key: {
                    "engine": s.engine,
                    "precision": s.precision,
                    "hint": s.hint,
                    "streams": s.streams,
                    "batch": s.batch,
                }
                for s in self.plan.settings
            },
            "scores": self.scores,
            "skipped": self.skipped,
            "fresh": self.fresh,
            **({"heats": self.heats} if self.plan.heats else {}),
            "rounds": self.rounds,
        }

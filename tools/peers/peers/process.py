"""The parent's side of a worker process."""

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from peers.errors import Refused
from peers.settings import Setting
from peers.texts import Pairs

FOLDER = Path(__file__).resolve().parent.parent


class Worker:
    """A running engine. Use it with `with`: leaving ends the process."""

    def __init__(self, setting: Setting, model: Path, prepared: Path, threads: int, log: Path) -> None:
        self.setting = setting
        self.log = log
        count = str(threads)
        environment = os.environ | {
            "OMP_NUM_THREADS": count,
            "RAYON_NUM_THREADS": count,
            "TOKENIZERS_PARALLELISM": "true",
            "HF_HUB_OFFLINE": "1",
        }
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "peers.worker"],
                cwd=FOLDER,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
            )
        first = {"setting": asdict(setting), "model": str(model), "prepared": str(prepared), "threads": threads}
        try:
            self.load_ms: float = self.ask(first)["load_ms"]
        except BaseException:
            self.end()
            raise

    def ask(self, request: dict) -> dict:
        """One request and its answer; an engine that fails or dies is out."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Refused(f"its process ended with code {self.process.wait()}; see {self.log.name}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def score(self, pairs: Pairs) -> list[list[float]]:
        """Logits of the pairs."""
        return self.ask({"op": "score", "pairs": pairs})["logits"]

    def time(self, pairs: Pairs, seconds: float, least: int = 2, *, warm: bool = False) -> dict:
        """Medians of one request, from text to logits, of `least` runs or more; `warm` says that it ran before."""
        request = {"op": "time", "pairs": pairs, "seconds": seconds}
        return self.ask(request | {"least": least, "warm": warm})

    def peak_rss_mb(self) -> float | None:
        """The most memory its process held so far."""
        return self.ask({"op": "memory"})["peak_rss_mb"]

    def end(self) -> None:
        """Ends the process: closed stdin first, since that lets it end by itself."""
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

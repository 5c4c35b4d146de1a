"""The process of one engine: requests as JSON lines on stdin, answers on stdout.

Each engine has a process of its own, so that thread pools, allocators and precision switches do not meet.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from peers.backends import Backend, load
from peers.settings import Setting
from peers.texts import Pairs


def own_stdout() -> TextIO:
    """The real stdout for answers alone: native libraries print to descriptor 1, which becomes stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def peak_rss_mb() -> float | None:
    """The most memory this process ever held, in 10^6 bytes as `crossrank bench` counts, where the system tells."""
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return round(kilobytes[0] * 1024 / 1e6, 1) if kilobytes else None


def clock(run: Callable[[Pairs], object], pairs: Pairs) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    run(pairs)
    return (time.perf_counter() - start) * 1e3


def timed(backend: Backend, pairs: Pairs, seconds: float, least: int = 2, *, warm: bool = False) -> dict:
    """Times a request over and over: once uncounted, for caches and the shapes an engine prepares itself for (unless it
    is `warm`), then for `seconds` and at least `least` times. Tokenising is timed again on its own, since engines do it
    inside.
    """
    if not warm:
        backend.score(pairs)
    end = time.perf_counter() + seconds
    total, tokenise = [], []
    while len(total) < least or time.perf_counter() < end:
        total.append(clock(backend.score, pairs))
        tokenise.append(clock(backend.tokenise, pairs))
    p50, p50_tokenise = statistics.median(total), statistics.median(tokenise)
    return {
        "runs": len(total),
        "p50_ms": round(p50, 4),
        "tokenise_ms": round(p50_tokenise, 4),
        "forward_ms": round(p50 - p50_tokenise, 4),
    }


def answer(backend: Backend, request: dict) -> dict:
    """What a request asks for."""
    pairs = [(query, document) for query, document in request.get("pairs", [])]
    match request["op"]:
        case "score":
            return {"logits": backend.score(pairs).tolist()}
        case "time":
            return timed(backend, pairs, request["seconds"], request["least"], warm=request["warm"])
        case "memory":
            return {"peak_rss_mb": peak_rss_mb()}
        case op:
            raise ValueError(f"unknown op {op!r}")


def main() -> None:
    """The first line says what to load; every further line is a request, until stdin ends."""
    answers = own_stdout()

    def reply(value: dict) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    start = time.perf_counter()
    first = json.loads(sys.stdin.readline())
    setting = Setting(**first["setting"])
    try:
        backend = load(setting, Path(first["model"]), Path(first["prepared"]), first["threads"])
    except Exception as error:  # an engine may fail in any way of its own; the run goes on without it
        reply({"error": f"load: {error!r}"})
        return
    reply({"load_ms": round((time.perf_counter() - start) * 1e3, 1)})
    for line in sys.stdin:
        try:
            reply(answer(backend, json.loads(line)))
        except Exception as error:
            reply({"error": repr(error)})


if __name__ == "__main__":
    main()

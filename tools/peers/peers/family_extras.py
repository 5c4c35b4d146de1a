"""What `families.py` measures beside the comparison: a token's cost, the share of tokenising, memory, the first score."""

import json
import shutil
import statistics
import subprocess
from pathlib import Path

from peers import summary
from peers.crossrank import Crossrank
from peers.errors import SetupError
from peers.texts import Workload, read_tokenizer


def per_token(ours: Crossrank, beside: Crossrank, workload: Workload, seconds: float, rounds: int) -> dict:
    """Microseconds a token in int8 of two models, by turns: the medians over rounds, and of the rounds' ratios."""
    lines = [[one.time("int8", workload, seconds) for one in (ours, beside)] for _ in range(rounds)]
    us = [[1e3 * line["p50_ms"] / line["tokens"] for line in turn] for turn in lines]
    return {
        "model": ours.model.name,
        "us": round(statistics.median(turn[0] for turn in us), 3),
        "beside": beside.model.resolve().name,
        "beside_us": round(statistics.median(turn[1] for turn in us), 3),
        "ratio": round(statistics.median(turn[0] / turn[1] for turn in us), 4),
    }


def tokenising(models: list[dict], names: tuple[str, ...]) -> list[dict]:
    """The share of tokenising in the int8 runs of a record's models."""
    found = []
    for model in models:
        if model["name"] not in names:
            continue
        workload = summary.heaviest(model)
        whole = summary.ours_ms(model, "int8", workload)
        ms = summary.ours_median(model, "int8", workload, "tokenise_ms")
        if whole is not None and ms is not None:
            found.append({"model": model["name"], "ms": ms, "share": round(ms / whole, 4)})
    return found


def crossrank(binary: Path, *arguments: str) -> str:
    """stdout of a command that must succeed."""
    done = subprocess.run([str(binary), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"crossrank {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def first_score(binary: Path, model: Path) -> float:
    """Milliseconds from the beginning of the program to a first score, as `inspect --timings` says: the least of
    three, so that the file's pages are in memory.
    """
    marked = []
    for _ in range(3):
        said = crossrank(binary, "inspect", "--model", str(model), "--timings")
        lines = [line.split() for line in said.splitlines()]
        marked += [float(words[1]) for words in lines if words[:1] == ["total:"] and words[-1:] == ["ms"]]
    if len(marked) != 3:
        raise SetupError(f"crossrank inspect --timings: {len(marked)} lines `total` of three runs")
    return min(marked)


def start(ours: Crossrank, workload: Workload, prepared: Path, seconds: float) -> dict:
    """Peak memory in int8 out of the checkpoint and packed, and how soon the packed one scores."""
    packed = prepared / "packed-int8"
    shutil.rmtree(packed, ignore_errors=True)
    crossrank(ours.binary, "pack", str(ours.model), str(packed), "--dtype", "int8")
    again = Crossrank(ours.binary, packed, ours.threads)
    try:
        return {
            "model": ours.model.name,
            "pairs": len(workload.documents),
            "peak_mb": ours.time("int8", workload, seconds)["peak_rss_mb"],
            "packed_peak_mb": again.time("int8", workload, seconds)["peak_rss_mb"],
            "first_score_ms": first_score(ours.binary, packed),
        }
    finally:
        shutil.rmtree(packed, ignore_errors=True)


def long_workload(model: Path, query: str, corpus: Path, tokens: int, count: int) -> Workload:
    """`count` documents out of a corpus that make pairs of `tokens` tokens each."""
    rows = [json.loads(line)["text"] for line in corpus.read_text("utf-8").splitlines() if line.strip()]
    tokenizer = read_tokenizer(model)
    tokenizer.no_truncation()
    documents, at = [], 0
    for _ in range(count):
        text = ""
        while len(tokenizer.encode(query, text)) < tokens:
            if at == len(rows):
                raise SetupError(f"{corpus}: too short for {count} documents of {tokens} tokens")
            text += rows[at] + " "
            at += 1
        # The end of the last token that fits; the separator behind it is one, too.
        encoding = tokenizer.encode(query, text)
        documents.append(text[: encoding.offsets[tokens - 2][1]])
    return Workload(f"long{tokens}", query, documents)


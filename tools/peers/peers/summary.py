"""Medians of a record's rounds. Everything that is shown anywhere comes through here."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One engine, at its best setting, on one workload."""

    ms: float
    ratio: float | None
    """Its time over ours of the neighbouring run: the median over rounds. Nothing without ours."""
    low: float | None
    high: float | None
    key: str


def label(engine: dict, dtype: str) -> str:
    """What an engine is called in the part of a table about `dtype`."""
    return engine["engine"] if engine["precision"] == dtype else f"{engine['engine']} {engine['precision']}"


def labels(model: dict, dtype: str) -> list[str]:
    """The engines held against our `dtype`, in the order of the run."""
    keys = dict.fromkeys(r["who"] for r in model["rounds"] if r["dtype"] == dtype and r["theirs"])
    return list(dict.fromkeys(label(model["engines"][key], dtype) for key in keys))


def dtypes(model: dict) -> list[str]:
    """The dtypes that have rounds."""
    return list(dict.fromkeys(r["dtype"] for r in model["rounds"]))


def setting_cell(rounds: list[dict], key: str) -> Cell | None:
    """One setting's cell."""
    mine = [r for r in rounds if r["who"] == key and r["theirs"]]
    if not mine:
        return None
    ratios = [r["theirs"]["p50_ms"] / r["ours"]["p50_ms"] for r in mine if r["ours"]]
    ms = statistics.median(r["theirs"]["p50_ms"] for r in mine)
    if not ratios:
        return Cell(ms, None, None, None, key)
    return Cell(ms, statistics.median(ratios), min(ratios), max(ratios), key)


def cell(model: dict, dtype: str, name: str, workload: str) -> Cell | None:
    """The best setting of an engine. A single pair is a matter of latency, for which one stream is the setting."""
    rounds = [r for r in model["rounds"] if r["dtype"] == dtype and r["workload"] == workload]
    single = model["workloads"][workload]["pairs"] == 1
    keys = [k for k, e in model["engines"].items() if label(e, dtype) == name and not (single and e["streams"] > 1)]
    cells = [found for key in keys if (found := setting_cell(rounds, key))]
    return min(cells, key=lambda found: found.ms, default=None)


def ours_ms(model: dict, dtype: str, workload: str) -> float | None:
    """Our median over all runs."""
    return ours_median(model, dtype, workload, "p50_ms")


def ours_median(model: dict, dtype: str, workload: str, key: str) -> float | None:
    """The median of one of the values of our bench lines."""
    rounds = [r for r in model["rounds"] if r["dtype"] == dtype and r["workload"] == workload]
    values = [r["ours"][key] for r in rounds if r["ours"] and r["ours"].get(key) is not None]
    return statistics.median(values) if values else None


def heaviest(model: dict) -> str:
    """The workload that memory is stated for."""
    return max(model["workloads"], key=lambda name: model["workloads"][name]["tokens"])


def peak_mb(model: dict, dtype: str, name: str) -> float | None:
    """The smallest peak among an engine's settings, in a fresh process on the heaviest workload."""
    fresh = {entry["who"]: entry["peak_rss_mb"] for entry in model["fresh"]}
    keys = [key for key, engine in model["engines"].items() if label(engine, dtype) == name]
    return min((fresh[key] for key in keys if fresh.get(key) is not None), default=None)

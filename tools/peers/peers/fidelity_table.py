"""Markdown out of a record of `fidelity.py`."""

from peers.table import row, skipped_lines

COLUMNS = ("nDCG@10 moved by", "MRR@10 moved by", "top-10 overlap", "Kendall's tau-b", "mean delta", "worst delta")


def engines(record: dict) -> list[tuple[str, str]]:
    """Name and precision of those that have a ranking, in the order of the run."""
    rankings = [ranking for part in record["sets"] for ranking in part["rankings"]]
    return list(dict.fromkeys((ranking["engine"], ranking["precision"]) for ranking in rankings))


def most_faithful(part: dict, engine: str, precision: str) -> dict | None:
    """The setting that stays nearest to f32: the least mean difference of logits."""
    known = [r for r in part["rankings"] if (r["engine"], r["precision"]) == (engine, precision)]
    return min(known, key=lambda ranking: ranking["mean_delta"], default=None)


def cells(part: dict, ranking: dict | None) -> list[str]:
    """One engine on one set."""
    if ranking is None:
        return ["-"] * len(COLUMNS)
    moved = [ranking[key] - part["reference"][key] for key in ("ndcg10", "mrr10")]
    return [
        *(f"{value:+.4f}" for value in moved),
        *(f"{ranking[key]:.3f}" for key in ("overlap10", "kendall_tau")),
        *(f"{100 * ranking[key]:.{digits}f} %" for key, digits in (("mean_delta", 2), ("worst_delta", 1))),
    ]


def table(record: dict) -> list[str]:
    """A row an engine; a cell has the sets one after the other."""
    sets = record["sets"]
    lines = [row(["", *COLUMNS]), row(["---"] + ["---:"] * len(COLUMNS))]
    for engine, precision in engines(record):
        columns = zip(*(cells(part, most_faithful(part, engine, precision)) for part in sets), strict=True)
        name = f"**{engine}**" if engine == "crossrank" else engine
        lines.append(row([f"{name} {precision}", *(" / ".join(column) for column in columns)]))
    return lines


def hint(record: dict) -> str:
    """Which of its settings OpenVINO's int8 is shown at."""
    shown = {part["name"]: most_faithful(part, "OpenVINO", "int8") for part in record["sets"]}
    hints = {name: ranking["hint"] for name, ranking in shown.items() if ranking}
    if not hints:
        return ""
    said = " and ".join(dict.fromkeys(hints.values()))
    if len(set(hints.values())) > 1:
        said = ", ".join(f"{value} on {name}" for name, value in hints.items())
    calibrated = ", ".join(f"{part['calibration']} for {part['name']}" for part in record["sets"])
    return f" (NNCF static, calibrated on {calibrated}; of both precision hints the more faithful: {said})"


def caption(record: dict) -> str:
    """What the figures are of."""
    versions, machine = record["versions"], record["machine"]
    sets = [
        f"{part['name']} ({part['queries']} queries, {part['pairs']:,} pairs; f32: nDCG@10"
        f" {part['reference']['ndcg10']:.4f}, MRR@10 {part['reference']['mrr10']:.4f})"
        for part in record["sets"]
    ]
    isas = ", ".join(dict.fromkeys(part["isa"] for part in record["sets"]))
    return (
        f"Against f32 of the same model, {' / '.join(sets)}; BM25's first 50 of each query; deltas are of logits, over the"
        f" standard deviation of f32's. OpenVINO {versions['openvino']}{hint(record)}, ONNX Runtime"
        f" {versions['onnxruntime']} (int8 dynamic, per channel). {record['date']}, {machine['cpu']}, crossrank on"
        f" {isas}: `{record['command']}`"
    )


def block(record: dict) -> list[str]:
    """What stands between the markers."""
    skipped = [line for part in record["sets"] for line in skipped_lines(part)]
    return [*table(record), "", caption(record), *dict.fromkeys(skipped)]

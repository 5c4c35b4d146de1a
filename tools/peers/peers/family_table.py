"""Markdown out of a record of `families.py`."""

from peers import summary, table

PEERS = ("OpenVINO", "ONNX Runtime", "sentence-transformers")


def shown(model: dict, dtype: str, workload: str) -> list[str]:
    """Ours, then the others of the same dtype; with int8 also OpenVINO's bf16, which may be faster than its int8."""
    ours = summary.ours_ms(model, dtype, workload)
    cells = [f"**{table.number(ours)}**" if ours else ""]
    for name in PEERS:
        own = table.theirs(model, dtype, name, workload)
        bf16 = table.theirs(model, dtype, f"{name} bf16", workload) if dtype == "int8" else ""
        cells.append(f"{own}, bf16 {bf16}" if own and bf16 else own or bf16 and f"bf16 {bf16}")
    return cells


def peak(model: dict, dtype: str) -> str:
    """The peak memory of ours and of the smallest of the others."""
    ours = summary.ours_median(model, dtype, summary.heaviest(model), "peak_rss_mb")
    names = [name for name in summary.labels(model, dtype) if name in PEERS]
    theirs = [mb for name in names if (mb := summary.peak_mb(model, dtype, name)) is not None]
    return f"{table.megabytes(ours)} : {table.megabytes(min(theirs, default=None))}"


def family_rows(model: dict) -> list[str]:
    """A row for each dtype."""
    rows, first = [], model["name"]
    for dtype in summary.dtypes(model):
        many, pair = (shown(model, dtype, workload) for workload in model["workloads"])
        # Of the lone pair OpenVINO alone: the table would be too wide.
        cells = [first, dtype, *many, f"{pair[0]} : {pair[1]}", peak(model, dtype)]
        rows.append(table.row(cells))
        first = ""
    return rows


def per_token_lines(found: dict) -> list[str]:
    """What a token costs, beside MiniLM's."""
    return [
        f"int8, a token: {found['model']} {found['us']:.1f} microseconds, {found['beside']} {found['beside_us']:.1f}"
        f" ({found['ratio']:.2f} times, by turns)."
    ]


def tokenising_lines(found: list[dict]) -> list[str]:
    """The share of tokenising."""
    said = [f"{each['model']} {each['share']:.1%} ({each['ms']:.2f} ms)" for each in found]
    return [f"Tokenising takes of int8's time: {', '.join(said)}."]


def start_lines(found: dict) -> list[str]:
    """Memory and first score of a packed model."""
    return [
        f"{found['model']} in int8 on {found['pairs']} pairs: peak {found['peak_mb']:.0f} MB out of the f32 checkpoint,"
        f" {found['packed_peak_mb']:.0f} MB packed; first score of the packed one after"
        f" {found['first_score_ms']:.0f} ms of a process (pages of the file in memory)."
    ]


def long_lines(found: dict) -> list[str]:
    """Documents of 8,000 tokens."""
    workload = next(iter(found["workloads"]))
    load, parts = found["workloads"][workload], []
    for dtype in ("f32", "int8"):
        ours = summary.ours_ms(found, dtype, workload)
        if ours is None:
            continue
        mb = summary.ours_median(found, dtype, workload, "peak_rss_mb")
        said = f"{dtype} **{ours / 1e3:.1f} s**, peak {table.megabytes(mb)} MB"
        if cell := summary.cell(found, dtype, "OpenVINO", workload):
            theirs = table.megabytes(summary.peak_mb(found, dtype, "OpenVINO"))
            ratio = f" ({cell.ratio:.2f})" if cell.ratio else ""
            said += f"; OpenVINO {cell.ms / 1e3:.1f} s{ratio}, {theirs} MB"
        parts.append(said)
    head = f"{found['name']}, {load['pairs']} documents, {load['tokens']:,} tokens together: "
    return [head + "; ".join(parts) + ".", *table.skipped_lines(found)]


def refused_lines(found: list[str]) -> list[str]:
    """What could not be measured, and why."""
    return [f"Not measured: {each}." for each in found]


EXTRAS = {
    "refused": refused_lines,
    "per_token": per_token_lines,
    "tokenising": tokenising_lines,
    "start": start_lines,
    "long": long_lines,
}


def block(record: dict) -> list[str]:
    """What stands between the markers."""
    models = record["models"]
    lines = []
    if models:
        count = models[0]["workloads"][summary.heaviest(models[0])]["pairs"]
        head = ["random weights", "", f"crossrank, {count} snippets", *PEERS, "lone pair, OpenVINO", "peak MB : theirs"]
        lines += [table.row(head), table.row(["---"] * 2 + ["---:"] * (len(head) - 2))]
        lines += [line for model in models for line in family_rows(model)]
        lines += [""]
    for key, value in record["extras"].items():
        lines += EXTRAS[key](value) if value else []
    lines += table.conditions(record)
    lines[-1] += (
        " All weights are random: what is compared is speed, not quality. Every setting ran once before; the fastest of"
        " each engine, from the graph of eager or of sdpa attention, went through the rounds."
    )
    for model in models:
        lines += [f"{model['name']}: {line}" for line in table.skipped_lines(model)]
    return [*lines, "", f"    {record['command']}"]

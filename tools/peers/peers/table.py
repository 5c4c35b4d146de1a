"""Markdown out of a record."""

from peers import summary


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def row(cells: list[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def theirs(model: dict, dtype: str, name: str, workload: str) -> str:
    """Time and ratio of one engine."""
    found = summary.cell(model, dtype, name, workload)
    if found is None:
        return ""
    return number(found.ms) + (f" ({found.ratio:.2f})" if found.ratio else "")


def megabytes(value: float | None) -> str:
    """Memory, or nothing where the system does not tell."""
    return "" if value is None else f"{value:,.0f}"


def model_table(model: dict) -> list[str]:
    """All dtypes of one model, a row an engine."""
    workloads = list(model["workloads"])
    lines = [row(["", "", *workloads, "peak MB"]), row(["---"] * 2 + ["---:"] * (len(workloads) + 1))]
    for dtype in summary.dtypes(model):
        ours = [summary.ours_ms(model, dtype, workload) for workload in workloads]
        first = dtype
        if any(ours):
            peak = summary.ours_median(model, dtype, summary.heaviest(model), "peak_rss_mb")
            shown = [f"**{number(ms)}**" if ms else "" for ms in ours]
            lines.append(row([first, "**crossrank**", *shown, megabytes(peak)]))
            first = ""
        for name in summary.labels(model, dtype):
            cells = [theirs(model, dtype, name, workload) for workload in workloads]
            lines.append(row([first, name, *cells, megabytes(summary.peak_mb(model, dtype, name))]))
            first = ""
    return lines


def widths_table(models: list[dict]) -> list[str]:
    """Several models, a row each model and dtype: ours, theirs, ratio."""
    workloads = list(models[0]["workloads"])
    lines = [row(["model", "", *workloads]), row(["---"] * 2 + ["---:"] * len(workloads))]
    for model in models:
        sizes = model["sizes"]
        first = f"hidden {sizes['hidden_size']}, {sizes['num_hidden_layers']} layers"
        for dtype in summary.dtypes(model):
            for name in summary.labels(model, dtype):
                cells = []
                for workload in workloads:
                    ours, pairs = summary.ours_ms(model, dtype, workload), model["workloads"][workload]["pairs"]
                    them = theirs(model, dtype, name, workload)
                    count = f", {pairs} pairs" if pairs > 1 else ""
                    cells.append(f"{f'**{number(ours)}** : ' if ours else ''}{them}{count}")
                lines.append(row([first, f"{dtype}, {name}", *cells]))
                first = ""
    return lines


def spread(record: dict) -> float | None:
    """How far a ratio of a single round was from the median shown, at most; nothing without ratios."""
    far = []
    for model in record["models"]:
        for dtype in summary.dtypes(model):
            for name in summary.labels(model, dtype):
                cells = [summary.cell(model, dtype, name, workload) for workload in model["workloads"]]
                far += [max(c.high - c.ratio, c.ratio - c.low) / c.ratio for c in cells if c and c.ratio]
    return max(far, default=None)


def took_part(record: dict) -> list[str]:
    """The engines of a record with their versions, and how each was set."""
    versions = record["versions"]
    said = {
        "OpenVINO": f"OpenVINO {versions['openvino']} (the better of one stream with batches of 16 and two with"
        " batches of 4; a single pair on one stream)",
        "ONNX Runtime": f"ONNX Runtime {versions['onnxruntime']}",
        "sentence-transformers": f"sentence-transformers {versions['sentence-transformers']}"
        f" on PyTorch {versions['torch']}",
    }
    there = {engine["engine"] for model in record["models"] for engine in model["engines"].values()}
    return [text for name, text in said.items() if name in there]


def conditions(record: dict) -> list[str]:
    """What the numbers are, on which machine, of which versions."""
    machine, options = record["machine"], record["options"]
    far = spread(record) if options["rounds"] > 1 else None
    within = "" if far is None else f" Ratios of single rounds are within {far:.0%} of these."
    rounds = "one round" if options["rounds"] == 1 else f"medians of {options['rounds']} rounds"
    # Those that decide between kernels for bf16 and int8, for readers who compare machines.
    telling = ("avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "i8mm")
    flags = " ".join(flag for flag in machine["flags"] if flag in telling)
    return [
        f"Milliseconds from text to score on {options['threads']} threads, {rounds};"
        f" bold is crossrank, in brackets how many times as long as crossrank the other takes.{within}",
        f"{record['date']}, {machine['cpu']}, {machine['cores']} cores{f' ({flags})' if flags else ''};"
        f" {', '.join(took_part(record))}.",
    ]


def score_lines(model: dict) -> list[str]:
    """How far each precision is from f32, ours and OpenVINO's: speed alone would be easy."""
    shown = []
    for entry in model["scores"]:
        ours = entry["who"].startswith("crossrank-")
        if ours and entry["against"] == "PyTorch f32" and not is_out(model, entry["who"]):
            shown.append(f"{entry['who'].removeprefix('crossrank-')} {entry['worst']:g} / {entry['mean']:g}")
    return [f"Logits differ from PyTorch's f32 by (worst / mean): {', '.join(shown)}."] if shown else []


def is_out(model: dict, key: str) -> bool:
    """Whether an engine was refused."""
    return any(entry["who"] == key for entry in model["skipped"])


def skipped_lines(model: dict) -> list[str]:
    """Who is missing, and why."""
    return [f"Not shown: {entry['who']} ({entry['reason'].replace(chr(10), ' ')})." for entry in model["skipped"]]


def block(record: dict, plot: str | None) -> list[str]:
    """What stands between the markers."""
    models = record["models"]
    table = model_table(models[0]) if record["kind"] == "peers" else widths_table(models)
    lines = [*table, "", *conditions(record)]
    if record["kind"] == "peers":
        lines += score_lines(models[0])
    # A dtype that the binary lacks is missing from every model alike.
    lines += list(dict.fromkeys(line for model in models for line in skipped_lines(model)))
    if plot:
        lines += ["", f"![Time from text to score, by engine]({plot})"]
    return [*lines, "", f"    {record['command']}"]

"""Records as files, and what is written from them."""

import json
import os
import sys
from pathlib import Path

from peers import family_table, fidelity_table, machine, table
from peers.errors import SetupError
from peers.plot import plot

# Each kind of record, and where the parts of it are that were measured.
PARTS = {"peers": "models", "widths": "models", "families": "models", "rounding": "models", "fidelity": "sets"}
README_LINES = 150
# Which of them go into the project's README, which has to stay short.
SHORT = ("peers", "fidelity")
# Rounds on a quiet machine stay within this of each other.
NOISY = 0.2


def new_record(kind: str, options: dict, parts: list[dict], crossrank: str) -> dict:
    """The record of a run that just ended."""
    return {
        "kind": kind,
        "date": machine.today(),
        "command": machine.command(),
        "machine": machine.machine(),
        "versions": machine.versions(crossrank),
        "options": options,
        PARTS[kind]: parts,
    }


def write_record(record: dict, path: Path) -> None:
    """As JSON, a round or a ranking a line: such a file can be compared with another by eye."""
    path.parent.mkdir(parents=True, exist_ok=True)
    where = PARTS[record["kind"]]
    parts = [dict(part) for part in record[where]]
    lines: dict[str, str] = {}
    for i, part in enumerate(parts):
        for key in part.keys() & {"scores", "fresh", "heats", "rounds", "rankings"}:
            for n, entry in enumerate(part[key]):
                lines[f'"@{i}/{key}/{n}"'] = json.dumps(entry)
            part[key] = [f"@{i}/{key}/{n}" for n in range(len(part[key]))]
    content = json.dumps(record | {where: parts}, indent=2)
    for mark, line in lines.items():
        content = content.replace(mark, line, 1)
    path.write_text(content + "\n", "utf-8")


def read_record(path: Path) -> dict:
    """A record that `compare.py`, `widths.py`, `families.py` or `fidelity.py` wrote."""
    try:
        record = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise SetupError(f"{path}: {error}") from error
    where = PARTS.get(record.get("kind")) if isinstance(record, dict) else None
    long = record.get("extras", {}).get("long") if where else None
    if where is None or not (record.get(where) or long):
        raise SetupError(f"{path}: not a record of compare.py, widths.py, families.py or fidelity.py")
    if not any(part.get("rounds") or part.get("rankings") for part in [*record[where], *([long] if long else [])]):
        raise SetupError(f"{path}: no rounds and no rankings; nothing was measured")
    return record


def around(readme: Path, kind: str) -> tuple[str, str]:
    """A README up to the first marker of a kind, and from the second one on."""
    begin, end = f"<!-- {kind}:begin -->", f"<!-- {kind}:end -->"
    try:
        text = readme.read_text("utf-8")
    except OSError as error:
        raise SetupError(f"--readme {readme}: {error.strerror}") from error
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise SetupError(f"--readme {readme}: expected one line {begin} and after it one line {end}")
    return text[: text.index(begin)] + begin, text[text.index(end) :]


def insert(readme: Path, kind: str, lines: list[str]) -> None:
    """Replaces what stands between the markers of a kind."""
    head, tail = around(readme, kind)
    changed = "\n".join([head, *lines, tail])
    if kind in SHORT and len(changed.splitlines()) >= README_LINES:
        raise SetupError(f"--readme {readme}: would have {len(changed.splitlines())} lines, {README_LINES} or more")
    readme.write_text(changed, "utf-8")


def report(record: dict, path: Path, readme: Path | None) -> list[str]:
    """Writes the plot beside the record and the table into the README; gives the table's lines."""
    if record["kind"] == "fidelity":
        lines = fidelity_table.block(record)
        if readme is not None:
            insert(readme, record["kind"], lines)
        return lines
    far = table.spread(record)
    if far is not None and far > NOISY:
        print(f"note: a round's ratio is {far:.0%} off its median: the machine was busy; run again", file=sys.stderr)
    image = None
    if record["kind"] == "peers":
        svg = path.with_suffix(".svg")
        svg.write_text(plot(record), "utf-8")
        image = svg
    if record["kind"] == "families":
        lines = family_table.block(record)
        if readme is not None:
            insert(readme, record["kind"], lines)
        return lines
    if readme is not None:
        link = os.path.relpath(image, readme.parent) if image else None
        insert(readme, record["kind"], table.block(record, link))
    return table.block(record, str(image) if image else None)

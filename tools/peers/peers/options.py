"""Options that the commands share."""

import argparse
from pathlib import Path

from peers.defaults import BINARY, CALIBRATION, MODEL, PREPARED, README, WORKLOADS
from peers.errors import SetupError
from peers.record import around


def positive(kind: type) -> object:
    """An argparse type: a number above zero."""

    def parse(word: str) -> float:
        value = kind(word)
        if not value > 0 or value == float("inf"):
            raise ValueError
        return value

    parse.__name__ = f"positive {kind.__name__}"
    return parse


def words(text: str) -> list[str]:
    """A comma list."""
    return [word.strip() for word in text.split(",") if word.strip()]


def shared(description: str, out: Path, record: str) -> argparse.ArgumentParser:
    """What all commands take that run the engines."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--model", type=Path, default=MODEL, metavar="DIR", help="checkpoint folder (default: %(default)s)")
    p.add_argument(
        "--crossrank",
        type=Path,
        default=BINARY,
        metavar="BINARY",
        help="the command line under test (default: %(default)s)",
    )
    p.add_argument(
        "--prepared",
        type=Path,
        default=PREPARED,
        metavar="DIR",
        help="where models of the others are kept, made on first use (default: %(default)s)",
    )
    p.add_argument(
        "--threads",
        type=positive(int),
        default=2,
        metavar="N",
        help="of every engine; `crossrank quantize` takes all cores (default: %(default)s)",
    )
    p.add_argument("--out", type=Path, default=out, metavar="FILE", help=f"{record} (default: %(default)s)")
    p.add_argument(
        "--readme", type=Path, default=README, metavar="FILE", help="where the table goes (default: %(default)s)"
    )
    p.add_argument("--no-readme", action="store_true", help="leave the README alone")
    return p


def parser(description: str, out: Path, dtypes: str, peers: str) -> argparse.ArgumentParser:
    """What the commands take that time requests."""
    p = shared(description, out, "the record; a plot goes beside it")
    p.add_argument(
        "--workloads",
        type=Path,
        default=WORKLOADS,
        metavar="FILE",
        help="JSON {name: {query, docs}} (default: %(default)s)",
    )
    p.add_argument(
        "--calibration",
        type=Path,
        default=CALIBRATION,
        metavar="FILE",
        help="JSONL with `text`, for OpenVINO's int8 (default: %(default)s)",
    )
    p.add_argument("--dtypes", type=words, default=words(dtypes), metavar="D,...", help=f"ours (default: {dtypes})")
    p.add_argument(
        "--peers",
        type=words,
        default=words(peers),
        metavar="P,...",
        help=f"only settings that contain one of these, as openvino or onnxruntime-f32 do (default: {peers or 'all'})",
    )
    p.add_argument(
        "--seconds", type=positive(float), default=1.0, metavar="S", help="for each measurement (default: %(default)s)"
    )
    p.add_argument(
        "--rounds", type=positive(int), default=3, metavar="N", help="of all engines by turns (default: %(default)s)"
    )
    p.add_argument(
        "--lock",
        type=Path,
        metavar="FILE",
        help="a lock file, held while timing (shared while preparing), for a machine where others measure too",
    )
    return p


def check(options: argparse.Namespace, kind: str) -> None:
    """What would only fail after minutes fails at once."""
    if not options.model.is_dir():
        raise SetupError(f"--model {options.model}: no such folder")
    if not options.no_readme:
        around(options.readme, kind)


def recorded(options: argparse.Namespace) -> dict:
    """Those that bear on the figures."""
    return {"threads": options.threads, "seconds": options.seconds, "rounds": options.rounds}

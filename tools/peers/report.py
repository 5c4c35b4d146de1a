#!/usr/bin/env python3
"""Writes the table and the plot from a record alone, measuring nothing."""

import argparse
import sys
from pathlib import Path

from peers.defaults import PEERS_README, README
from peers.errors import exit_code
from peers.record import read_record, report


def main() -> None:
    """Writes both, and the table to stdout."""
    parser = argparse.ArgumentParser(description="Write the table and the SVG plot from a record.")
    parser.add_argument("record", type=Path, help="JSON of compare.py, widths.py or fidelity.py; a plot goes beside it")
    parser.add_argument(
        "--readme", type=Path, help=f"file with the markers (default: {README}, for widths {PEERS_README})"
    )
    parser.add_argument("--no-readme", action="store_true", help="leave the README alone")
    options = parser.parse_args()
    record = read_record(options.record)
    readme = options.readme or (PEERS_README if record["kind"] == "widths" else README)
    lines = report(record, options.record, None if options.no_readme else readme)
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(exit_code("report", main))

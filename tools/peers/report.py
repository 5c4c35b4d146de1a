#!/usr/bin/env python3
"""Writes the README's table and the plot from a record alone, measuring nothing."""

import argparse
import sys
from pathlib import Path

from peers.defaults import README
from peers.errors import exit_code
from peers.record import read_record, report


def main() -> None:
    """Writes both, and the table to stdout."""
    parser = argparse.ArgumentParser(description="Write the README's table and the SVG plot from a record.")
    parser.add_argument("record", type=Path, help="JSON of compare.py, widths.py or fidelity.py; a plot goes beside it")
    parser.add_argument("--readme", type=Path, default=README, help="file with the markers (default: %(default)s)")
    parser.add_argument("--no-readme", action="store_true", help="leave the README alone")
    options = parser.parse_args()
    lines = report(read_record(options.record), options.record, None if options.no_readme else options.readme)
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(exit_code("report", main))

#!/usr/bin/env python3
"""Writes the README's table and the plot from a record alone, measuring nothing."""

import argparse
import sys
from pathlib import Path

from peers.defaults import README
from peers.errors import SetupError
from peers.record import read_record, report


def main() -> int:
    """Writes both, and the table to stdout."""
    parser = argparse.ArgumentParser(description="Write the README's table and the SVG plot from a record.")
    parser.add_argument("record", type=Path, help="JSON of compare.py or widths.py; the plot goes beside it")
    parser.add_argument("--readme", type=Path, default=README, help="file with the markers (default: %(default)s)")
    parser.add_argument("--no-readme", action="store_true", help="leave the README alone")
    options = parser.parse_args()
    try:
        lines = report(read_record(options.record), options.record, None if options.no_readme else options.readme)
    except SetupError as error:
        print(f"report: error: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Makes what the other engines load. `compare.py` runs this by itself; it is a process of its own so that the memory
and the threads of PyTorch and the quantisers are gone before anything is timed.
"""

import argparse
import sys
from pathlib import Path

from peers.artifacts import CALIBRATION_PAIRS, Artifacts
from peers.defaults import CALIBRATION, PREPARED
from peers.errors import exit_code

NAMES = ("plain.onnx", "fused.onnx", "fused-int8.onnx", "openvino-int8.xml")
# Only asked for by name.
OTHERS = ("plain-sdpa.onnx", "fused-sdpa.onnx", "fused-sdpa-int8.onnx")


def main() -> None:
    """Makes the artifacts asked for."""
    parser = argparse.ArgumentParser(description="Make what ONNX Runtime and OpenVINO load out of a checkpoint.")
    parser.add_argument(
        "--model", type=Path, required=True, help="checkpoint folder of a sequence classifier or of modules"
    )
    parser.add_argument(
        "--out", type=Path, help=f"where the files go (default: a folder of the model's name in {PREPARED})"
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        default=CALIBRATION,
        help="JSONL with `text`, for OpenVINO int8 (default: %(default)s)",
    )
    parser.add_argument(
        "--calibration-pairs",
        type=int,
        default=CALIBRATION_PAIRS,
        metavar="N",
        help="how many pairs of them; what random weights make of a text needs few (default: %(default)s)",
    )
    known = ", ".join((*NAMES, *OTHERS))
    parser.add_argument("names", nargs="*", metavar="FILE", help=f"which of {known} (default: the first four)")
    options = parser.parse_args()
    unknown = set(options.names) - {*NAMES, *OTHERS}
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {known}")
    out = options.out or PREPARED / options.model.resolve().name
    artifacts = Artifacts(options.model, out, options.calibration, options.calibration_pairs)
    for name in options.names or NAMES:
        print(artifacts.ensure(name))


if __name__ == "__main__":
    sys.exit(exit_code("prepare", main))

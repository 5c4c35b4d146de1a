"""Where things are when no option says so. Relative to the project's root, from which the commands are run."""

import os
from pathlib import Path

ROOT = Path(os.path.relpath(Path(__file__).resolve().parents[3]))
BINARY = ROOT / "target/release/crossrank"
PREPARED = ROOT / "target/peers"
RECORDS = ROOT / "benches/records"
README = ROOT / "README.md"
# Where the table of other widths goes.
PEERS_README = ROOT / "tools/peers/README.md"
SHARED = ROOT / "../shared"
MODEL = SHARED / "models/minilm-l6"
WORKLOADS = SHARED / "data/workloads.json"
EVAL_DIRS = [SHARED / "data/squad", SHARED / "data/cranfield"]
CALIBRATION = SHARED / "data/cranfield/corpus.jsonl"
# A set is not calibrated on itself.
CALIBRATIONS = [CALIBRATION, SHARED / "data/squad/corpus.jsonl"]


def reference_of(model: Path) -> Path | None:
    """The file of reference logits that belongs to a model, if there is one."""
    path = SHARED / "reference" / f"{model.resolve().name}.jsonl"
    return path if path.is_file() else None

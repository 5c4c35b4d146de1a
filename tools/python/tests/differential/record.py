"""Writes what sentence-transformers makes of the calls: python -m differential.record, where it and torch are installed."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

RECORD = Path(__file__).with_name("record.jsonl")


def main() -> None:
    import sentence_transformers
    import torch
    import transformers

    from .calls import calls
    from .outcome import Models

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    models = Models(sentence_transformers.CrossEncoder, torch.nn, Path(tempfile.mkdtemp()))
    versions = {
        "sentence-transformers": sentence_transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
    }
    with RECORD.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"versions": versions}) + "\n")
        for call in calls():
            line = {"call": call.name, **models.outcome(call)}
            file.write(json.dumps(line, ensure_ascii=True) + "\n")
            sys.stdout.write(f"{call.name}: {line.get('error', line.get('type'))}\n")


if __name__ == "__main__":
    main()

"""Writes `scaled.jsonl` beside a ModernBERT fixture: its logits by transformers with the positions of all layers stretched.

    python tools/reference/rope_scaling.py tests/fixtures/modernbert

A line for each way to stretch them: `scaling`, which goes into both kinds of `rope_parameters`, and `logits`, one list a
line of `reference.jsonl`, in f32 with eager attention, one pair at a time.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from transformers import ModernBertForSequenceClassification

SCALINGS = [
    {"rope_type": "linear", "factor": 3.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 40},
    {"rope_type": "yarn", "factor": 2.5, "original_max_position_embeddings": 64, "beta_fast": 3.0, "beta_slow": 0.5},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 40, "attention_factor": 1.3},
]


def main():
    source = Path(sys.argv[1])
    pairs = [json.loads(line) for line in (source / "reference.jsonl").read_text().splitlines()]
    lines = []
    for scaling in SCALINGS:
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copytree(source, Path(folder) / "model")
            config = json.loads((copy / "config.json").read_text())
            for own in config["rope_parameters"].values():
                own.update(scaling)
            (copy / "config.json").write_text(json.dumps(config))
            model = ModernBertForSequenceClassification.from_pretrained(
                copy, dtype=torch.float32, attn_implementation="eager"
            ).eval()
            with torch.no_grad():
                logits = [model(input_ids=torch.tensor([pair["ids"]])).logits[0].tolist() for pair in pairs]
        lines.append(json.dumps({"scaling": scaling, "logits": logits}))
    (source / "scaled.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""The checkpoints of the calls: those of `tests/fixtures`, and one that is made of one of them."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
FIXTURES = ROOT / "tests" / "fixtures"


def find(name: str, scratch: Path) -> str:
    """The folder of a checkpoint; one that is made goes to `scratch`."""
    if name == "three-labels":
        return str(three_labels(scratch / name))
    return str(FIXTURES / name)


def three_labels(folder: Path) -> Path:
    """`relu-3-labels`, whose tensors have names that transformers does not know, under those that it does."""
    if folder.is_dir():
        return folder
    shutil.copytree(FIXTURES / "relu-3-labels", folder)
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:end])
    for old in list(header):
        new = old.removeprefix("module.").replace("LayerNorm.gamma", "LayerNorm.weight")
        header[new.replace("LayerNorm.beta", "LayerNorm.bias")] = header.pop(old)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    weights.write_bytes(struct.pack("<Q", len(text)) + text + data[end:])
    return folder

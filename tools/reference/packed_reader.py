"""Scores token ids with a packed checkpoint, by docs/packed-format.md alone and in f64.

    python tools/reference/packed_reader.py PACKED_DIR PAIRS.jsonl

PAIRS.jsonl holds `{"ids", "type_ids", "logits"}` a line, as `reference.py` writes them. The script prints how far the
logits are from those in the file, and fails beyond 1e-4 (f32) or where the file is packed in `int8` or `bf16` beyond what
the third argument allows.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

DTYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "BF16": np.uint16}


def widen(array, dtype):
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)


class Packed:
    def __init__(self, path):
        data = Path(path).read_bytes()
        length = int.from_bytes(data[:8], "little")
        self.header = json.loads(data[8 : 8 + length])
        metadata = self.header.pop("__metadata__")
        for key, expected in [
            ("crossrank_packing", "panels"),
            ("crossrank_packing_version", "4"),
            ("crossrank_byte_order", sys.byteorder),
        ]:
            if metadata.get(key) != expected:
                sys.exit(f"{path}: `{key}`: expected {expected}, found {metadata.get(key)}")
        self.packing = metadata["crossrank_packing_dtype"]
        self.network = json.loads(metadata["network_description"])
        self.data = data[8 + length :]

    def raw(self, name):
        info = self.header[name]
        start, end = info["data_offsets"]
        return self.data[start:end], info

    def tensor(self, name):
        data, info = self.raw(name)
        values = widen(np.frombuffer(data, DTYPES[info["dtype"]]), info["dtype"]).reshape(info["shape"])
        if info["dtype"] == "I8":
            values = values * self.tensor(f"{name}_scale").reshape(-1, 1)
        return values

    def product(self, name, n, k):
        """The matrices [n, k] of a product, one for each of its count."""
        data, info = self.raw(f"{name}.panels")
        count, panels, lines = info["shape"][:3]
        if info["dtype"] == "F32":
            values = np.frombuffer(data, np.float32).reshape(count, panels, lines, 16).astype(np.float64)
            values = values.transpose(0, 1, 3, 2)
        elif info["dtype"] == "BF16":
            values = widen(np.frombuffer(data, np.uint16), "BF16").reshape(count, panels, lines, 16, 2)
            values = values.transpose(0, 1, 3, 2, 4).reshape(count, panels, 16, -1)
        else:
            blocks = np.frombuffer(data, np.int8).reshape(count, panels, lines, 16, 4)
            scale = np.ascontiguousarray(blocks[:, :, -1]).view(np.float32).astype(np.float64)
            if self.packing == "int8":
                values = blocks[:, :, 1:-1].transpose(0, 1, 3, 2, 4).reshape(count, panels, 16, -1) * scale
            else:
                digits = blocks[:, :, :-1].reshape(count, panels, -1, 3, 16, 16, 4).astype(np.float64)
                values = digits[:, :, :, 0] + digits[:, :, :, 1] / 256 + digits[:, :, :, 2] / 65536
                values = values.transpose(0, 1, 4, 2, 3, 5).reshape(count, panels, 16, -1) * scale
        return values.reshape(count, panels * 16, -1)[:, :n, :k]


ERF = np.vectorize(math.erf)
ACTIVATIONS = {
    "gelu": lambda x: x * (1 + ERF(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    None: lambda x: x,
}


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


class Network:
    def __init__(self, packed):
        self.packed, self.network, tensor = packed, packed.network, packed.tensor
        hidden, last = self.network["hidden"], len(self.network["layers"]) - 1
        self.layers = []
        for i, form in enumerate(self.network["layers"]):
            role = f"layer.{i}"
            inner = form["feed_forward"]["intermediate"]
            heads, dim = form["attention"]["heads"], form["attention"]["head_dim"]
            if i < last:
                qkv = packed.product(f"{role}.qkv", 3 * hidden, hidden)[0]
                query, key, value = qkv[:hidden], qkv[hidden : 2 * hidden], qkv[2 * hidden :]
            else:
                query = packed.product(f"{role}.query", hidden, hidden)[0]
                key = packed.product(f"{role}.key_fold", hidden, dim).transpose(0, 2, 1).reshape(hidden, hidden)
                value = packed.product(f"{role}.value_heads", dim, hidden).reshape(heads * dim, hidden)
            weights = {
                "query": query,
                "key": key,
                "value": value,
                "attention_output": packed.product(f"{role}.attention_output", hidden, hidden)[0],
                "up": packed.product(f"{role}.up", inner, hidden)[0],
                "down": packed.product(f"{role}.down", hidden, inner)[0],
            }
            self.layers.append({name: (w, tensor(f"{role}.{name}.bias")) for name, w in weights.items()})

    def norm(self, role, eps, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
        return x * self.packed.tensor(f"{role}.weight") + self.packed.tensor(f"{role}.bias")

    def residual(self, role, x):
        name = f"{role}.residual_scale"
        return x * self.packed.tensor(name) if name in self.packed.header else x

    def logits(self, ids, type_ids):
        tensor, form = self.packed.tensor, self.network["embeddings"]
        x = tensor("embeddings.words")[ids] + tensor("embeddings.positions")[: len(ids)]
        x = self.norm("embeddings.norm", form["norm"]["eps"], x + tensor("embeddings.token_types")[type_ids])
        for i, (form, weights) in enumerate(zip(self.network["layers"], self.layers)):
            linear = lambda name, x: x @ weights[name][0].T + weights[name][1]
            heads, dim = form["attention"]["heads"], form["attention"]["head_dim"]
            q, k, v = (linear(name, x).reshape(-1, heads, dim).transpose(1, 0, 2) for name in ("query", "key", "value"))
            context = softmax(form["attention"]["scale"] * q @ k.transpose(0, 2, 1)) @ v
            context = context.transpose(1, 0, 2).reshape(-1, heads * dim)
            role = f"layer.{i}.attention_norm"
            x = linear("attention_output", context) + self.residual(role, x)
            x = self.norm(role, form["attention_norm"]["eps"], x)
            role = f"layer.{i}.feed_forward_norm"
            inner = ACTIVATIONS[form["feed_forward"]["activation"]](linear("up", x))
            x = linear("down", inner) + self.residual(role, x)
            x = self.norm(role, form["feed_forward_norm"]["eps"], x)
        features = x[0]
        for i, step in enumerate(self.network["head"]):
            features = tensor(f"head.{i}.weight") @ features + tensor(f"head.{i}.bias")
            features = ACTIVATIONS[step["dense"]["activation"]](features)
        return features


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    packed = Packed(Path(sys.argv[1]) / "model.safetensors")
    network = Network(packed)
    allowed = float(sys.argv[3]) if len(sys.argv) == 4 else 1e-4
    pairs = [json.loads(line) for line in Path(sys.argv[2]).read_text().splitlines()]
    worst = max(float(np.abs(network.logits(p["ids"], p["type_ids"]) - p["logits"]).max()) for p in pairs)
    print(f"{len(pairs)} pairs, packed in {packed.packing}: worst difference {worst:.2e}")
    if not pairs or not worst <= allowed:
        sys.exit(f"beyond {allowed}")


if __name__ == "__main__":
    main()

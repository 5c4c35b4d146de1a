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


def bucket(form, ahead):
    """The row of the table for a key that is so many tokens ahead."""
    half, exact = form["count"] // 2, form["count"] // 4
    own, distance = (half if ahead > 0 else 0), abs(ahead)
    if distance < exact:
        return own + distance
    share = np.float32(math.log(distance / exact)) / np.float32(math.log(form["max_distance"] / exact))
    return own + min(exact + int(share * (half - exact)), half - 1)


def slopes(heads):
    power = lambda n: [2 ** (-8 * h / n) for h in range(1, n + 1)]
    below = 1 << (heads.bit_length() - 1)
    return np.array((power(below) + power(2 * below)[::2])[:heads])


def frequencies(form, dim):
    """Of half a head, and the factor of cosines and sines."""
    theta, d = form["theta"], np.arange(dim // 2)
    plain = theta ** (-2.0 * d / dim)
    kind, scaling = next(iter(form.get("scaling", {"none": {}}).items()))
    if kind == "none":
        return plain, 1.0
    if kind == "linear":
        return plain / scaling["factor"], 1.0
    column = lambda n: dim * math.log(scaling["original"] / (2 * math.pi * n)) / (2 * math.log(theta))
    low = max(math.floor(column(scaling["beta_fast"])), 0)
    high = min(math.ceil(column(scaling["beta_slow"])), dim - 1)
    high += 0.001 if low == high else 0
    share = np.clip((d - low) / (high - low), 0, 1)
    return plain * (share / scaling["factor"] + 1 - share), scaling["attention_factor"]


def turn(form, x):
    """x is heads x tokens x columns."""
    half = x.shape[-1] // 2
    f, factor = frequencies(form, x.shape[-1])
    # The angle in f32, as frameworks have it.
    angles = (np.arange(x.shape[1], dtype=np.float32)[:, None] * f.astype(np.float32)).astype(np.float64)
    cos, sin, a, b = factor * np.cos(angles), factor * np.sin(angles), x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class Network:
    def __init__(self, packed):
        self.packed, self.network = packed, packed.network
        hidden, last = self.network["hidden"], len(self.network["layers"]) - 1
        self.layers = []
        for i, form in enumerate(self.network["layers"]):
            own, role = f"layer.{i}", f"layer.{form['weights']}"
            inner, gated = form["feed_forward"]["intermediate"], form["feed_forward"].get("gated", False)
            heads, dim = form["attention"]["heads"], form["attention"]["head_dim"]
            weights = {}
            if i < last or self.network["pooling"] == "mean":
                qkv = packed.product(f"{role}.qkv", 3 * hidden, hidden)[0]
                weights["query"], weights["key"], weights["value"] = np.split(qkv, 3)
            else:
                weights["query"] = packed.product(f"{own}.query", hidden, hidden)[0]
                if f"{own}.key.panels" in packed.header:
                    weights["key"] = packed.product(f"{own}.key", hidden, hidden)[0]
                else:
                    fold = packed.product(f"{own}.key_fold", hidden, dim)
                    weights["key"] = fold.transpose(0, 2, 1).reshape(hidden, hidden)
                weights["value"] = packed.product(f"{own}.value_heads", dim, hidden).reshape(heads * dim, hidden)
            weights["attention_output"] = packed.product(f"{role}.attention_output", hidden, hidden)[0]
            if gated:
                both = packed.product(f"{role}.up_gate", 2 * inner, hidden)[0]
                weights["up"], weights["gate"] = both[:inner], both[inner:]
            else:
                weights["up"] = packed.product(f"{role}.up", inner, hidden)[0]
            weights["down"] = packed.product(f"{role}.down", hidden, inner)[0]
            self.layers.append({name: (w, self.bias(f"{role}.{name}")) for name, w in weights.items()})

    def bias(self, role):
        name = f"{role}.bias"
        return self.packed.tensor(name) if name in self.packed.header else 0.0

    def norm(self, role, form, x):
        if form is None:
            return x
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + form["eps"])
        return x * self.packed.tensor(f"{role}.weight") + self.bias(role)

    def residual(self, role, x):
        name = f"{role}.residual_scale"
        return x * self.packed.tensor(name) if name in self.packed.header else x

    def embed(self, ids, type_ids):
        tensor, form = self.packed.tensor, self.network["embeddings"]
        x = tensor("embeddings.words")[ids]
        if "positions" in form:
            places, pad = np.arange(len(ids)), form["positions"].get("pad")
            if pad is not None:
                counted = np.array(ids) != pad
                places = np.where(counted, pad + np.cumsum(counted), pad)
            x = x + tensor("embeddings.positions")[places]
        if "token_types" in form:
            x = x + tensor("embeddings.token_types")[[0] * len(ids) if form["token_types"].get("first_only") else type_ids]
        x = self.norm("embeddings.norm", form.get("norm"), x)
        if form.get("projected"):
            x = x @ tensor("embeddings.projection.weight").T + self.bias("embeddings.projection")
        return x

    def attend(self, role, form, linear, x):
        heads, dim, positions = form["heads"], form["head_dim"], form.get("positions", {})
        q, k, v = (linear(name, x).reshape(-1, heads, dim).transpose(1, 0, 2) for name in ("query", "key", "value"))
        if "rotary" in positions:
            q, k = turn(positions["rotary"], q), turn(positions["rotary"], k)
        scores = form["scale"] * q @ k.transpose(0, 2, 1)
        ahead = np.arange(len(x))[None, :] - np.arange(len(x))[:, None]
        if positions == "alibi":
            scores = scores - slopes(heads)[:, None, None] * np.abs(ahead)
        if "buckets" in positions:
            buckets = positions["buckets"]
            table = self.packed.tensor("shared.buckets" if buckets["shared"] else f"{role}.buckets")
            rows = np.vectorize(lambda n: bucket(buckets, n), otypes=[int])(ahead)
            scores = scores + table[rows].transpose(2, 0, 1)
        if "span" in form:
            scores = np.where(np.abs(ahead) > form["span"], -np.inf, scores)
        return (softmax(scores) @ v).transpose(1, 0, 2).reshape(-1, heads * dim)

    def logits(self, ids, type_ids):
        x = self.embed(ids, type_ids)
        for form, weights in zip(self.network["layers"], self.layers):
            linear = lambda name, x: x @ weights[name][0].T + weights[name][1]
            role, feed_forward = f"layer.{form['weights']}", form["feed_forward"]
            norms = [(f"{role}.{name}", form.get(name)) for name in ("attention_norm", "feed_forward_norm")]

            def inside(x):
                x, gate = ACTIVATIONS[feed_forward["activation"]](linear("up", x)), x
                return x * linear("gate", gate) if feed_forward.get("gated") else x

            attend = lambda x: linear("attention_output", self.attend(role, form["attention"], linear, x))
            for (name, norm), f in zip(norms, [attend, lambda x: linear("down", inside(x))]):
                if form["order"] == "norm_first":
                    x = x + f(self.norm(name, norm, x))
                else:
                    x = self.norm(name, norm, f(x) + self.residual(name, x))
        x = self.norm("final_norm", self.network.get("final_norm"), x)
        features = x[0] if self.network["pooling"] == "first" else x.mean(0)
        for i, step in enumerate(self.network["head"]):
            if "norm" in step:
                features = self.norm(f"head.{i}", step["norm"], features)
                continue
            made = self.packed.tensor(f"head.{i}.weight") @ features + self.bias(f"head.{i}")
            made = ACTIVATIONS[step["dense"].get("activation")](made)
            added = {"plain": lambda: features, "projected": lambda: self.packed.tensor(f"head.{i}.residual.weight") @ features}
            features = made + added.get(step["dense"].get("residual"), lambda: 0.0)()
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

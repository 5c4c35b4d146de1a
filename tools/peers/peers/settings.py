"""Which engines take part, at which settings, and which of ours each is held against."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from peers.errors import SetupError

DTYPES = ("f32", "bf16", "int8")


@dataclass(frozen=True)
class Setting:
    """One engine as it is started: a worker process runs exactly one of these."""

    engine: str
    precision: str
    backend: str
    artifact: str
    """The prepared file it loads; empty for an engine that reads the checkpoint itself."""
    hint: str = "f32"
    """What OpenVINO may compute in where the graph leaves it open."""
    streams: int = 1
    batch: int = 16
    attention: str = "eager"
    """Which of PyTorch's implementations the reference runs."""

    @property
    def key(self) -> str:
        """A short name for options, progress and records."""
        hint = f"-{self.hint}" if self.backend == "openvino" and self.precision == "int8" else ""
        graph = "-sdpa" if "sdpa" in self.artifact else ""
        return f"{self.backend}-{self.precision}{hint}{graph}-{self.streams}x{self.batch}"


REFERENCE = Setting("PyTorch eager, one pair at a time", "f32", "eager", "", batch=1)
# Eager attention holds the scores of all heads at once: at 8,000 tokens several copies of 3 GB.
LONG_REFERENCE = Setting("PyTorch sdpa, one pair at a time", "f32", "eager", "", batch=1, attention="sdpa")


def openvino(precision: str, artifact: str, hint: str) -> list[Setting]:
    """Both settings that OpenVINO was seen at its best with: which of them wins depends on machine and texts."""
    return [
        Setting("OpenVINO", precision, "openvino", artifact, hint, streams=1, batch=16),
        Setting("OpenVINO", precision, "openvino", artifact, hint, streams=2, batch=4),
    ]


OPENVINO_F32 = openvino("f32", "plain.onnx", "f32")
OPENVINO_BF16 = openvino("bf16", "plain.onnx", "bf16")
OPENVINO_INT8 = openvino("int8", "openvino-int8.xml", "f32") + openvino("int8", "openvino-int8.xml", "bf16")
ORT_F32 = [Setting("ONNX Runtime", "f32", "onnxruntime", "fused.onnx")]
ORT_INT8 = [Setting("ONNX Runtime", "int8", "onnxruntime", "fused-int8.onnx")]
TORCH_F32 = [Setting("sentence-transformers", "f32", "sentence-transformers", "")]
TORCH_BF16 = [Setting("sentence-transformers", "bf16", "sentence-transformers", "")]

# Our int8 is also held against OpenVINO's bf16, which can be the fastest of what it offers.
PAIRINGS: dict[str, list[Setting]] = {
    "f32": OPENVINO_F32 + ORT_F32 + TORCH_F32,
    "bf16": OPENVINO_BF16 + TORCH_BF16,
    "int8": OPENVINO_INT8 + ORT_INT8 + OPENVINO_BF16,
}

# The same for other families: from both graphs, since it depends on the family which of them an engine runs faster.
SDPA = {
    "plain.onnx": "plain-sdpa.onnx",
    "fused.onnx": "fused-sdpa.onnx",
    "fused-int8.onnx": "fused-sdpa-int8.onnx",
}


def both_graphs(settings: list[Setting]) -> list[Setting]:
    """The settings, each followed by the one with the other graph where there is another."""
    return [
        setting
        for each in settings
        for setting in [each, *([replace(each, artifact=SDPA[each.artifact])] if each.artifact in SDPA else [])]
    ]


FAMILY_PAIRINGS = {dtype: both_graphs(settings) for dtype, settings in PAIRINGS.items()}

# For documents of 8,000 tokens: one at a time, or one for each thread.
LONG_PAIRINGS = {
    "f32": both_graphs(
        [Setting("OpenVINO", "f32", "openvino", "plain.onnx", "f32", streams, batch=1) for streams in (1, 2)]
    ),
    "int8": [],
}

# Whose rankings are held against f32's. Streams change nothing in them; OpenVINO's hint does.
FIDELITY = [setting for setting in OPENVINO_INT8 + ORT_INT8 + OPENVINO_BF16 if setting.streams == 1]


def select(
    dtypes: Sequence[str], wanted: Sequence[str], pairings: dict[str, list[Setting]] = PAIRINGS
) -> dict[str, list[Setting]]:
    """The pairings of `dtypes`, with only the settings whose key contains one of `wanted` (all when it is empty)."""
    chosen = {}
    for dtype in dtypes:
        if dtype not in pairings:
            raise SetupError(f"--dtypes {dtype}: expected some of {', '.join(DTYPES)}")
        chosen[dtype] = [s for s in pairings[dtype] if not wanted or any(part in s.key for part in wanted)]
    if not any(chosen.values()):
        known = sorted({s.key for settings in pairings.values() for s in settings})
        raise SetupError(f"--peers {','.join(wanted)}: matches none of {', '.join(known)}")
    return chosen

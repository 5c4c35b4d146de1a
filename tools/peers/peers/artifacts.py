"""What the other engines load, made out of a checkpoint folder: ONNX plain, fused and int8, OpenVINO int8."""

import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from peers import torch_model
from peers.batches import INPUTS
from peers.errors import SetupError
from peers.family_sizes import sizes
from peers.texts import Pairs, read_config, read_tokenizer

CALIBRATION_PAIRS = 100
CALIBRATION_TOKENS = 256
QUERY_WORDS = 12
OPSET = 17
EXAMPLE_TOKENS = 200
# What shapes an artifact: another version of one of these makes it anew.
PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "openvino", "nncf")


def fingerprint(model: Path, calibration: Path | None) -> str:
    """Names the inputs of an artifact, so that one made from other inputs is not taken for it."""
    digest = hashlib.sha256()
    weights = sorted(model.glob("*.safetensors"))
    if not weights:
        raise SetupError(f"--model {model}: no *.safetensors")
    if calibration and not calibration.is_file():
        raise SetupError(f"--calibration {calibration}: no such file, and OpenVINO int8 needs its texts")
    for file in [model / "config.json", *weights, *([calibration] if calibration else [])]:
        try:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise SetupError(f"{file}: {error.strerror}") from error
    digest.update(" ".join(f"{name} {version(name)}" for name in PACKAGES).encode())
    return digest.hexdigest()


def calibration_pairs(path: Path) -> Pairs:
    """Pairs out of a file with `text` a line: the beginning of one text with itself and with another, by turns, so
    that both ends of the scores occur.
    """
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        texts = [row["text"] for row in rows if row["text"].strip()]
    except OSError as error:
        raise SetupError(f"--calibration {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SetupError(f'--calibration {path}: expected JSON with "text" a line: {error!r}') from error
    if not texts:
        raise SetupError(f"--calibration {path}: no texts")
    step = max(1, len(texts) // CALIBRATION_PAIRS)
    chosen = list(range(0, len(texts), step))[:CALIBRATION_PAIRS]
    query = [" ".join(texts[i].split()[:QUERY_WORDS]) for i in chosen]
    return [(query[n], texts[i if n % 2 else (i + step) % len(texts)]) for n, i in enumerate(chosen)]


class Artifacts:
    """The prepared folder of one model. Each file is made when it is first asked for."""

    def __init__(
        self, model: Path, out: Path, calibration: Path, calibration_pairs: int = CALIBRATION_PAIRS
    ) -> None:
        self.model = model
        self.out = out
        self.calibration = calibration
        self.calibration_pairs = calibration_pairs
        self.makers = {
            "plain.onnx": self.make_plain,
            "plain-sdpa.onnx": self.make_plain_sdpa,
            "fused.onnx": self.make_fused,
            "fused-sdpa.onnx": self.make_fused_sdpa,
            "fused-int8.onnx": self.make_fused_int8,
            "fused-sdpa-int8.onnx": self.make_fused_sdpa_int8,
            "openvino-int8.xml": self.make_openvino_int8,
        }

    def stamp(self, name: str) -> tuple[Path, str]:
        """The file that says what an artifact was made from, and what it should say."""
        calibration = self.calibration if name == "openvino-int8.xml" else None
        return self.out / f"{name}.made-from", fingerprint(self.model, calibration)

    def is_current(self, name: str) -> bool:
        """Whether the artifact is there and was made from this model, by these packages."""
        stamp, expected = self.stamp(name)
        return (self.out / name).is_file() and stamp.is_file() and stamp.read_text("utf-8") == expected

    def ensure(self, name: str) -> Path:
        """The artifact, made if need be. The stamp comes last: an interrupted run leaves none."""
        if not self.is_current(name):
            self.out.mkdir(parents=True, exist_ok=True)
            stamp, expected = self.stamp(name)
            stamp.unlink(missing_ok=True)
            self.makers[name](self.out / name)
            stamp.write_text(expected, "utf-8")
        return self.out / name

    def make_plain(self, file: Path) -> None:
        """The network as PyTorch has it, batch and length free."""
        self.export(file, "eager")

    def make_plain_sdpa(self, file: Path) -> None:
        """The same from PyTorch's attention in one piece, whose graph is another."""
        self.export(file, "sdpa")

    def export(self, file: Path, attention: str) -> None:
        """By the older exporter: ONNX Runtime's optimizer knows its patterns."""
        import torch

        model, names = torch_model.load(self.model, attention), torch_model.input_names(self.model)
        # A local window must not be taken for the whole of the text.
        ids = torch.randint(5, read_config(self.model)["vocab_size"], (2, EXAMPLE_TOKENS))
        values = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
        axes = {name: {0: "batch", 1: "length"} for name in names}
        torch.onnx.export(
            model,
            tuple(values[name] for name in names),
            file,
            input_names=list(names),
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )

    def make_fused(self, file: Path) -> None:
        """Attention, LayerNorm and GELU as single nodes: ONNX Runtime's fastest form in f32."""
        self.fuse("plain.onnx", file)

    def make_fused_sdpa(self, file: Path) -> None:
        """The same of the other graph."""
        self.fuse("plain-sdpa.onnx", file)

    def fuse(self, plain: str, file: Path) -> None:
        """What ONNX Runtime's optimizer for BERT finds; in other families it may be the norms and activations only."""
        from onnxruntime.transformers.optimizer import optimize_model

        found = sizes(read_config(self.model))
        fused = optimize_model(
            str(self.ensure(plain)),
            model_type="bert",
            num_heads=found["num_attention_heads"],
            hidden_size=found["hidden_size"],
            opt_level=1,
        )
        fused.save_model_to_file(str(file))

    def make_fused_int8(self, file: Path) -> None:
        """Weights as s8 per channel, activations quantised as they come."""
        self.quantize("fused.onnx", file)

    def make_fused_sdpa_int8(self, file: Path) -> None:
        """The same of the other graph."""
        self.quantize("fused-sdpa.onnx", file)

    def quantize(self, fused: str, file: Path) -> None:
        """ONNX Runtime's dynamic quantisation."""
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            self.ensure(fused),
            file,
            weight_type=QuantType.QInt8,
            per_channel=True,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )

    def calibration_inputs(self) -> Iterator[dict[str, np.ndarray]]:
        """One unpadded pair at a time."""
        tokenizer = read_tokenizer(self.model)
        tokenizer.enable_truncation(CALIBRATION_TOKENS, strategy="only_second")
        names = torch_model.input_names(self.model)
        for encoding in tokenizer.encode_batch(calibration_pairs(self.calibration)[: self.calibration_pairs]):
            values = dict(zip(INPUTS, (encoding.ids, encoding.attention_mask, encoding.type_ids), strict=True))
            yield {name: np.array([values[name]], np.int64) for name in names}

    def make_openvino_int8(self, file: Path) -> None:
        """NNCF's static quantisation, with ranges from the calibration texts."""
        import nncf
        import openvino

        plain = openvino.Core().read_model(self.ensure("plain.onnx"))
        dataset = nncf.Dataset(list(self.calibration_inputs()))
        model_type = nncf.ModelType.TRANSFORMER
        quantised = nncf.quantize(plain, dataset, model_type=model_type, subset_size=self.calibration_pairs)
        openvino.save_model(quantised, file)

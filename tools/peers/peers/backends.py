"""The engines, each behind the same two calls. Imports sit inside, so that a worker only loads what it runs."""

from pathlib import Path
from typing import Protocol

import numpy as np

from peers import torch_model
from peers.batches import batches
from peers.settings import Setting
from peers.texts import Pairs, read_config, read_tokenizer, window


class Backend(Protocol):
    """An engine that is loaded and ready."""

    def score(self, pairs: Pairs) -> np.ndarray:
        """Logits in the order of the pairs, `[pairs, labels]`, from text."""

    def tokenise(self, pairs: Pairs) -> None:
        """Only what `score` does before it has ids, so that it can be timed apart."""


class Padded:
    """What the engines that take batches of ids share."""

    def __init__(self, model: Path, batch: int, kinds: dict[str, type]) -> None:
        self.tokenizer = read_tokenizer(model)
        self.batch = batch
        self.kinds = kinds
        self.pad = int(read_config(model).get("pad_token_id") or 0)

    def tokenise(self, pairs: Pairs) -> None:
        """Fast encoding: nobody needs the offsets."""
        self.tokenizer.encode_batch_fast(pairs)

    def score(self, pairs: Pairs) -> np.ndarray:
        """Logits in the order of the pairs."""
        encodings = self.tokenizer.encode_batch_fast(pairs)
        parts: list[tuple[list[int], np.ndarray]] = []
        for batch in batches(encodings, self.batch, self.kinds, self.pad):
            self.submit(batch.inputs, batch.indices, parts)
        self.finish()
        logits = np.empty((len(pairs), parts[0][1].shape[1]), np.float32)
        for indices, part in parts:
            logits[indices] = part
        return logits

    def submit(self, inputs: dict[str, np.ndarray], indices: list[int], parts: list) -> None:
        """Starts a batch; its logits are in `parts` once `finish` has returned."""
        raise NotImplementedError

    def finish(self) -> None:
        """Waits for batches that still run."""


class OnnxRuntime(Padded):
    """ONNX Runtime's CPU provider."""

    def __init__(self, setting: Setting, model: Path, prepared: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        file = str(prepared / setting.artifact)
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        kinds = {i.name: np.int64 if "int64" in i.type else np.int32 for i in self.session.get_inputs()}
        super().__init__(model, setting.batch, kinds)

    def submit(self, inputs: dict[str, np.ndarray], indices: list[int], parts: list) -> None:
        """Runs at once."""
        parts.append((indices, self.session.run(None, inputs)[0]))


class OpenVino(Padded):
    """OpenVINO's CPU plugin; with several streams, that many batches run at once and share the threads."""

    def __init__(self, setting: Setting, model: Path, prepared: Path, threads: int) -> None:
        import openvino

        config = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": setting.hint,
        }
        config |= {"PERFORMANCE_HINT": "LATENCY"} if setting.streams == 1 else {"NUM_STREAMS": setting.streams}
        compiled = openvino.Core().compile_model(str(prepared / setting.artifact), "CPU", config)
        self.queue = openvino.AsyncInferQueue(compiled, setting.streams)
        self.queue.set_callback(self.collect)
        super().__init__(model, setting.batch, {port.any_name: np.int64 for port in compiled.inputs})

    @staticmethod
    def collect(request: object, where: tuple[list[int], list]) -> None:
        """The output tensor belongs to the request and is overwritten by its next batch, hence the copy."""
        indices, parts = where
        parts.append((indices, request.get_output_tensor(0).data.copy()))

    def submit(self, inputs: dict[str, np.ndarray], indices: list[int], parts: list) -> None:
        """Waits only when all streams are busy."""
        self.queue.start_async(inputs, (indices, parts))

    def finish(self) -> None:
        """Waits for all streams."""
        self.queue.wait_all()


class SentenceTransformers:
    """PyTorch as most people run it: `CrossEncoder.predict`, with the batching and tokenizer of its own."""

    def __init__(self, setting: Setting, model: Path, prepared: Path, threads: int) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        torch.set_num_threads(threads)
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[setting.precision]
        self.batch = setting.batch
        self.window = window(model)
        self.encoder = CrossEncoder(
            str(model), device="cpu", local_files_only=True, max_length=self.window, model_kwargs={"dtype": dtype}
        )
        self.identity = torch.nn.Identity()

    def tokenise(self, pairs: Pairs) -> None:
        """All pairs in one call, which is the faster way."""
        queries, documents = zip(*pairs, strict=True)
        self.encoder.tokenizer(list(queries), list(documents), truncation=True, max_length=self.window)

    def score(self, pairs: Pairs) -> np.ndarray:
        """Logits, since the score of the model's activation hides differences where it saturates."""
        scores = self.encoder.predict(
            pairs, batch_size=self.batch, activation_fn=self.identity, show_progress_bar=False
        )
        return np.asarray(scores, np.float32).reshape(len(pairs), -1)


class Eager:
    """The reference: PyTorch f32, one pair at a time, so that nothing is padded."""

    def __init__(self, setting: Setting, model: Path, prepared: Path, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.tokenizer = read_tokenizer(model)
        self.names = torch_model.input_names(model)
        self.model = torch_model.load(model, setting.attention)

    def tokenise(self, pairs: Pairs) -> None:
        """As the padded engines do it."""
        self.tokenizer.encode_batch_fast(pairs)

    def score(self, pairs: Pairs) -> np.ndarray:
        """Logits in the order of the pairs."""
        logits = []
        with self.torch.inference_mode():
            for encoding in self.tokenizer.encode_batch_fast(pairs):
                ids, types = self.torch.tensor([encoding.ids]), self.torch.tensor([encoding.type_ids])
                values = {"input_ids": ids, "attention_mask": self.torch.ones_like(ids), "token_type_ids": types}
                logits.append(self.model(*(values[name] for name in self.names))[0].numpy())
        return np.stack(logits)


BACKENDS = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "sentence-transformers": SentenceTransformers,
    "eager": Eager,
}


def load(setting: Setting, model: Path, prepared: Path, threads: int) -> Backend:
    """The engine of a setting."""
    return BACKENDS[setting.backend](setting, model, prepared, threads)

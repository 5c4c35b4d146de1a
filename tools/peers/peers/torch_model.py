"""A checkpoint folder as PyTorch runs it: a sequence classifier of transformers, or modules of sentence-transformers."""

from pathlib import Path
from typing import TYPE_CHECKING

from peers.texts import read_config

if TYPE_CHECKING:
    import torch

# The families whose segments are told apart; to the others the template's token types are nothing.
WITH_TOKEN_TYPES = ("bert", "electra", "albert")


def input_names(model: Path) -> tuple[str, ...]:
    """What the network takes."""
    types = ("token_type_ids",) if read_config(model)["model_type"] in WITH_TOKEN_TYPES else ()
    return ("input_ids", "attention_mask", *types)


def load(model: Path, attention: str) -> "torch.nn.Module":
    """Calls with `input_names` in this order give logits, `[pairs, labels]`, in f32. `attention` is eager or sdpa."""
    import torch

    names = input_names(model)
    arguments = {"dtype": torch.float32, "attn_implementation": attention}
    if (model / "modules.json").is_file():
        from sentence_transformers import CrossEncoder

        network = CrossEncoder(str(model), device="cpu", local_files_only=True, model_kwargs=arguments).eval()
    else:
        from transformers import AutoModelForSequenceClassification

        classifier = AutoModelForSequenceClassification
        network = classifier.from_pretrained(str(model), local_files_only=True, **arguments).eval()

    class Logits(torch.nn.Module):
        """The network, from tensors to a tensor."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            given = dict(zip(names, inputs, strict=True))
            if not hasattr(self.network, "predict"):
                return self.network(**given).logits
            for module in self.network:
                given = module(given)
            return given["scores"]

    return Logits().eval()

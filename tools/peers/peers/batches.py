"""Padded batches, cut the way sentence-transformers cuts them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Encoding

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Batch:
    """Some pairs of a request, and where their logits belong."""

    indices: list[int]
    inputs: dict[str, np.ndarray]


def batches(encodings: "list[Encoding]", size: int, kinds: dict[str, type], pad: int = 0) -> Iterator[Batch]:
    """Batches of `size`, longest pairs first, each padded to its longest.

    `kinds` names the inputs that the graph has and their integer type, so that converting is not paid for twice.
    `pad` is the id that fills a row up: RoBERTa's kin count positions over the others.
    """
    order = sorted(range(len(encodings)), key=lambda i: -len(encodings[i]))
    for start in range(0, len(order), size):
        indices = order[start : start + size]
        shape = (len(indices), len(encodings[indices[0]]))
        inputs = {name: np.full(shape, pad if name == "input_ids" else 0, kind) for name, kind in kinds.items()}
        for row, index in enumerate(indices):
            encoding = encodings[index]
            columns = slice(0, len(encoding))
            values = (encoding.ids, 1, encoding.type_ids)
            for name, value in zip(INPUTS, values, strict=True):
                if name in inputs:
                    inputs[name][row, columns] = value
        yield Batch(indices, inputs)

"""Reranks search results with cross-encoders, on CPUs, without torch.

>>> import crossrank
>>> model = crossrank.CrossEncoder()
>>> passages = ["Bread is baked in an oven.", "Rivers run downhill until they reach the sea."]
>>> [result["corpus_id"] for result in model.rank("where do rivers go", passages)]
[1, 0]

`CrossEncoder` is called as the class of that name in sentence-transformers 6.2. The engine is written in Rust; it loads
the safetensors checkpoints of the Hugging Face hub, and gives PyTorch's scores.
"""

from ._crossrank import ModelError, __version__
from ._encoder import CrossEncoder
from ._errors import InputError

__all__ = ["CrossEncoder", "InputError", "ModelError", "__version__"]

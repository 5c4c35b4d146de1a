"""What `activation_fn` may be, and what is made of it: a name that the engine knows, or a function of an array."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    Function = Callable[[NDArray[np.float32]], Any]

NAMES = ("identity", "sigmoid", "softmax")


def resolve(activation_fn: object) -> str | Function:
    """The name of an activation (`model` for None, which is the checkpoint's own), or a function of float32 logits, a
    row a pair and a column a label. Torch's classes are known by their names, so torch is never imported here."""
    if activation_fn is None:
        return "model"
    if isinstance(activation_fn, str):
        # As checkpoints write it: `torch.nn.modules.activation.Sigmoid`.
        name = activation_fn.rsplit(".", 1)[-1].lower()
        if name not in NAMES:
            expected = ", ".join(NAMES)
            raise ValueError(f"activation_fn: expected one of {expected}, or a callable, found {activation_fn!r}")
        return name
    if isinstance(activation_fn, type) or not callable(activation_fn):
        found = activation_fn.__name__ if isinstance(activation_fn, type) else type(activation_fn).__name__
        what = f"the class {found}" if isinstance(activation_fn, type) else found
        raise TypeError(f"activation_fn: expected a name, a callable or an instance of torch's modules, found {what}")
    kind = type(activation_fn)
    if kind.__module__.startswith("torch.nn.modules.") and not getattr(activation_fn, "_forward_hooks", None):
        if kind.__name__ in ("Sigmoid", "Identity"):
            return kind.__name__.lower()
        if kind.__name__ == "Softmax" and getattr(activation_fn, "dim", None) in (1, -1):
            return "softmax"
    if _is_torchs(activation_fn):
        return _of_tensors(activation_fn)
    return activation_fn


def apply(function: Function, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a function of the caller's makes of logits: a row a pair, as float32."""
    import numpy as np

    # A copy: what a function does to its argument shall not change what the ranking goes by.
    scores = np.asarray(function(logits.copy()), dtype=np.float32)
    if scores.ndim == 0 or len(scores) != len(logits):
        raise ValueError(
            f"activation_fn: expected an array with a row for each of {len(logits)} pairs, found shape {scores.shape}"
        )
    return scores


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """e to each score over the sum of its row."""
    import numpy as np

    exponentials: NDArray[np.float32] = np.exp(scores - scores.max(axis=1, keepdims=True))
    rows: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return rows


def _is_torchs(function: object) -> bool:
    if "torch" not in sys.modules:
        return False
    places = (function, type(function), getattr(function, "__self__", None))
    modules = [str(getattr(place, "__module__", "")) for place in places]
    # Functions such as `torch.tanh` have no module of their own.
    name = str(getattr(function, "__qualname__", ""))
    return any(module.split(".")[0] == "torch" for module in modules) or name.startswith("_VariableFunctions")


def _of_tensors(function: Callable[[Any], Any]) -> Function:
    def of_array(logits: NDArray[np.float32]) -> Any:
        torch: Any = sys.modules["torch"]
        with torch.inference_mode():
            scores = function(torch.from_numpy(logits))
        return scores.float().cpu().numpy()

    return of_array

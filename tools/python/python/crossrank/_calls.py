"""What calls have in common: what their arguments mean, and how they leave a loop of asyncio to others."""

from __future__ import annotations

import warnings

from . import _arguments
from ._crossrank import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NO_TORCH = "there is no torch here"


def earlier(inputs: Any, activation_fn: Any, arguments: dict[str, Any], function: str) -> tuple[Any, Any]:
    """What a call means that has names of earlier versions."""
    ranks = function.endswith("rank")
    for name in ("num_workers", "apply_softmax", "convert_to_numpy", "convert_to_tensor"):
        if name in arguments and (name == "num_workers" or ranks):
            arguments.pop(name)
            warnings.warn(f"{function}: `{name}` has no effect", DeprecationWarning, stacklevel=3)
    names = {"activation_fct": "activation_fn"} if ranks else _arguments.RENAMED_OF_CALLS
    renamed = _arguments.rename(arguments, names, function)
    return renamed.get("inputs", inputs), renamed.get("activation_fn", activation_fn)


def is_pair(inputs: Any) -> bool:
    """Whether inputs are one pair of texts, and not several."""
    if isinstance(inputs, (list, tuple)):
        return len(inputs) > 0 and (isinstance(inputs[0], (str, bytes)) or not hasattr(inputs[0], "__len__"))
    if type(inputs).__module__ == "numpy" and hasattr(inputs, "ndim"):
        return bool(inputs.ndim == 1 and len(inputs) > 0 and isinstance(inputs[0], str))
    return False


def refuse_tensors(
    convert_to_numpy: Any, convert_to_tensor: Any, device: Any, pool: Any, chunk_size: Any
) -> None:
    if convert_to_numpy is not True and not convert_to_numpy:
        raise TypeError(f"convert_to_numpy: {NO_TORCH}, so expected True, found {convert_to_numpy!r}")
    if convert_to_tensor:
        raise TypeError(f"convert_to_tensor: {NO_TORCH}, so expected False, found {convert_to_tensor!r}")
    if device is not None:
        _arguments.device(device)
    if pool is not None:
        raise TypeError("pool: one process uses all CPUs, so expected None")
    if chunk_size is not None:
        raise TypeError(f"chunk_size: one process uses all CPUs, so expected None, found {chunk_size!r:.80}")


async def aside(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function on another thread; ends it if the caller is cancelled."""
    import asyncio

    stop = Stop()
    try:
        return await asyncio.to_thread(function, *arguments, stop)
    except asyncio.CancelledError:
        stop.stop()
        raise

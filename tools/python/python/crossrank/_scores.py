"""From what the engine gives to what the caller gets, where an activation is one that the engine does not know."""

from __future__ import annotations

from . import _activations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray


def finish(
    buffer: bytearray, labels: int, activation: str | _activations.Function, apply_softmax: bool | None
) -> NDArray[np.float32]:
    """An array of scores, or of logits where the activation is a function, which is then applied."""
    import numpy as np

    scores: NDArray[np.float32] = np.frombuffer(buffer, dtype=np.float32)
    if labels > 1 or not isinstance(activation, str):
        scores = scores.reshape(-1, labels)
    if not isinstance(activation, str) and len(scores):
        scores = _activations.apply(activation, scores)
    elif activation == "softmax" and labels == 1:
        scores = np.ones_like(scores)
    if labels == 1 and scores.ndim > 1 and scores.shape[-1] == 1:
        scores = scores.squeeze(-1)
    if apply_softmax and scores.ndim > 1 and len(scores):
        scores = _activations.softmax(scores)
    return scores


def order(
    ranking: list[dict[str, Any]],
    activation: str | _activations.Function,
    top_k: int | None,
    min_score: float | None,
) -> list[dict[str, Any]]:
    """A ranking by logits, whose scores are now to be what a function makes of them."""
    if not ranking:
        return ranking
    import numpy as np

    logits = np.array([result["score"] for result in ranking], dtype=np.float32).reshape(-1, 1)
    scores = np.ones_like(logits) if isinstance(activation, str) else _activations.apply(activation, logits)
    if scores.size != len(ranking):
        raise ValueError(f"activation_fn: expected one score a document, found shape {scores.shape}")
    for result, score in zip(ranking, scores.reshape(-1).tolist()):
        result["score"] = score
    # Equal ones stay in the order of their logits.
    ranking.sort(key=lambda result: -result["score"])
    if min_score is not None:
        ranking = [result for result in ranking if result["score"] >= min_score]
    return ranking[:top_k]

"""Whether everyone computes the same thing. Nothing is timed before this is known."""

from dataclasses import dataclass

import numpy as np

from peers.errors import Refused, SetupError
from peers.texts import Pairs

# An engine that claims f32 and is further off than this computes something else.
F32_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Expected:
    """Requests and what their pairs should score."""

    name: str
    requests: list[Pairs]
    logits: np.ndarray


def require_telling(expected: Expected) -> None:
    """Logits that hardly differ from each other would let any engine pass."""
    spread = float(np.ptp(expected.logits))
    if len(expected.logits) > 1 and spread < 10 * F32_TOLERANCE:
        raise SetupError(
            f"the logits of {expected.name} differ by {spread:.2g} only; comparing them would show nothing"
        )


def compare(expected: Expected, logits: list[list[float]]) -> dict:
    """Worst and mean absolute difference, over all pairs and labels."""
    actual = np.asarray(logits, np.float64)
    if actual.shape != expected.logits.shape:
        raise Refused(f"{expected.name}: logits of shape {actual.shape}, expected {expected.logits.shape}")
    if not np.isfinite(actual).all():
        raise Refused(f"{expected.name}: {int((~np.isfinite(actual)).sum())} logits are not finite")
    difference = np.abs(actual - expected.logits)
    return {
        "against": expected.name,
        "pairs": len(expected.logits),
        "worst": float(f"{difference.max():.3g}"),
        "mean": float(f"{difference.mean():.3g}"),
    }


def refuse_wrong(precision: str, results: list[dict]) -> None:
    """Takes out who claims f32 and differs. bf16 and int8 round by design: their differences are only recorded."""
    for result in results:
        if precision == "f32" and result["worst"] > F32_TOLERANCE:
            raise Refused(f"f32 logits differ by {result['worst']} from {result['against']}, over {F32_TOLERANCE}")

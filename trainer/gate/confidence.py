"""How sure a candidate is beside its incumbent, and what of that a bundle publishes.

Devices stop a release that is much less sure than the one it replaces, which garbage
is. An honest model may be less sure too, as one that has met harder inputs is; then its
bundle says by how much, and devices allow for that. Only what passed the gate publishes
it, and never more than :data:`MAX_DROP`: nobody gives himself a free pass. Pure.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_DROP = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """Mean confidences (0 to 1) of both models on the same ``n`` held-out samples."""

    candidate: float
    incumbent: float
    n: int

    @property
    def drop(self) -> float:
        """The incumbent's minus the candidate's; negative: the candidate is surer."""
        return self.incumbent - self.candidate


def mean_confidence(probabilities: NDArray[np.float32]) -> float:
    """Return the mean over samples of the largest of ``probabilities`` ``(n, c)``."""
    return float(probabilities.max(axis=1).mean(dtype=np.float64))


def publish_drop(confidence: Confidence | None, *, passed: bool) -> float | None:
    """Return the drop that a bundle publishes, ``None`` for none.

    Args:
        confidence: What was measured; ``None`` where there is no incumbent.
        passed: Whether the gate passed the candidate.
    """
    if confidence is None or not passed or not math.isfinite(confidence.drop):
        return None
    return round(min(confidence.drop, MAX_DROP), 4)


def describe_drop(confidence: Confidence, drop: float) -> str:
    """Return what was measured and what is published of it, in words, for the card."""
    means = (
        f"Mean confidence on {confidence.n} samples of held-out people "
        f"{confidence.candidate:.2f}, incumbent {confidence.incumbent:.2f}: "
    )
    if drop <= 0:
        return means + f"no drop ({-drop:.2f} surer), published as measured."
    published = f"a drop of {drop:.2f} is published"
    return f"{means}{published}, so that devices do not take it for a fault."

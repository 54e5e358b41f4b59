"""Distance between two count vectors over the same bins. Pure.

It takes finite samples on both sides into account: a reference is a sample too.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Floats = NDArray[np.float64]


def _shares(counts: ArrayLike, floor: float) -> tuple[_Floats, float]:
    array = np.asarray(counts, np.float64)
    total = float(array.sum())
    padded = array + floor
    return padded / padded.sum(), total


def psi(observed: ArrayLike, expected: ArrayLike) -> float:
    """Population stability index, corrected for its bias at small counts.

    ``sum((p - q) * ln(p / q))`` with half a count added to every bin, minus its
    expectation without drift, ``(bins - 1) * (1/n + 1/m)`` (Yurdakul, 2018).

    Returns:
        0 or more; 0 also where either side is empty.
    """
    p, n = _shares(observed, 0.5)
    q, m = _shares(expected, 0.5)
    if not n or not m:
        return 0.0
    raw = float(((p - q) * np.log(p / q)).sum())
    return max(0.0, raw - (len(p) - 1) * (1 / n + 1 / m))

"""Total variation distance of counts, in plain Python.

Apart from :mod:`edge_agent.sketch.distance` because the supervisor needs only this, and
numpy would be a third of its memory.
"""

from collections.abc import Sequence


def total_variation(observed: Sequence[int], expected: Sequence[int]) -> float:
    """Return half the sum of absolute differences of shares: 0 to 1.

    0 where either side is empty. Both have the same length.
    """
    n, m = sum(observed), sum(expected)
    if not n or not m:
        return 0.0
    pairs = zip(observed, expected, strict=True)
    return 0.5 * sum(abs(one / n - other / m) for one, other in pairs)

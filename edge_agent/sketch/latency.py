"""Latency as counts in logarithmic bins: exact to merge, 2.2 % wide.

Bin ``k`` holds ``[g**k, g**(k+1))`` microseconds with ``g = 2**(1/16)``, the layout of
OpenTelemetry's exponential histogram at schema 4.
"""

import math
from collections.abc import Mapping

BINS_PER_DOUBLING = 16
MIN_US = 0.1


def bin_of(latency_us: float) -> int:
    """Return the bin of a latency in microseconds (at least 0.1 us)."""
    return math.floor(math.log2(max(latency_us, MIN_US)) * BINS_PER_DOUBLING)


def middle_us(bin_: int) -> float:
    """Return the geometric middle of a bin in microseconds."""
    return float(2.0 ** ((bin_ + 0.5) / BINS_PER_DOUBLING))


def quantile_us(counts: Mapping[int, int], q: float) -> float:
    """Return the ``q`` quantile (0 to 1) in microseconds; 0 when there is no count."""
    left = q * sum(counts.values())
    for bin_ in sorted(counts):
        left -= counts[bin_]
        if left <= 0:
            return middle_us(bin_)
    return 0.0

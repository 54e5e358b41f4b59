"""Counts with their intervals, and the tables that show them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

Z = 1.959964
"""Two-sided 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """``k`` of ``n``."""

    k: int
    n: int

    @property
    def percent(self) -> float:
        """The share in percent; 0 of none."""
        return 100.0 * self.k / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval in percent (Wilson, 1927)."""
        return wilson(self.k, self.n)

    def __str__(self) -> str:
        """Return ``1.2 % of 300 [0.4, 2.9]``."""
        if not self.n:
            return ""
        low, high = self.interval
        return f"{self.percent:.3g} % of {self.n:,} [{low:.2f}, {high:.2f}]"


def share(found: Iterable[bool]) -> Share:
    """Count what is true."""
    listed = list(found)
    return Share(k=sum(listed), n=len(listed))


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of ``k`` of ``n`` in percent (Wilson, 1927)."""
    if not n:
        return 0.0, 100.0
    p, z2 = k / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return 100 * max(middle - half, 0.0), 100 * min(middle + half, 1.0)

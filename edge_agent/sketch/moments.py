"""Count, mean and spread of many channels at once, mergeable (Chan et al., 1979)."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.wire.profile import ChannelMoments

Array = NDArray[np.float64]


@dataclass(slots=True)
class Moments:
    """Running moments of ``channels`` values; all arrays have shape ``(channels,)``."""

    channels: int
    n: int = 0
    mean: Array = field(init=False)
    m2: Array = field(init=False)
    low: Array = field(init=False)
    high: Array = field(init=False)

    def __post_init__(self) -> None:
        """Start empty: minimum at plus infinity, maximum at minus infinity."""
        self.mean = np.zeros(self.channels)
        self.m2 = np.zeros(self.channels)
        self.low = np.full(self.channels, np.inf)
        self.high = np.full(self.channels, -np.inf)

    def add(self, rows: Array) -> None:
        """Add ``rows`` of shape ``(n, channels)``."""
        if not len(rows):
            return
        mean = rows.mean(axis=0)
        m2 = ((rows - mean) ** 2).sum(axis=0)
        self._merge(len(rows), mean, m2)
        np.minimum(self.low, rows.min(axis=0), out=self.low)
        np.maximum(self.high, rows.max(axis=0), out=self.high)

    def merge(self, other: Self) -> None:
        """Add everything that ``other`` has seen."""
        self._merge(other.n, other.mean, other.m2)
        np.minimum(self.low, other.low, out=self.low)
        np.maximum(self.high, other.high, out=self.high)

    def _merge(self, n: int, mean: Array, m2: Array) -> None:
        total = self.n + n
        if not total:
            return
        delta = mean - self.mean
        self.mean = self.mean + delta * (n / total)
        self.m2 = self.m2 + m2 + delta**2 * (self.n * n / total)
        self.n = total

    def to_wire(self) -> list[ChannelMoments]:
        """Return one struct a channel; an empty one holds zeros."""
        if not self.n:
            return [
                ChannelMoments(n=0, mean=0.0, m2=0.0, low=0.0, high=0.0)
            ] * self.channels
        return [
            ChannelMoments(
                n=self.n,
                mean=round(float(self.mean[i]), 6),
                m2=round(float(self.m2[i]), 6),
                low=round(float(self.low[i]), 6),
                high=round(float(self.high[i]), 6),
            )
            for i in range(self.channels)
        ]

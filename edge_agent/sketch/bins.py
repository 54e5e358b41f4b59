"""Values to bins, for many channels at once.

A numeric channel's bin is the number of its edges at or below the value; counting edge
by edge over all channels costs 0.3 us a row for 15 channels, a search for each of them
1.1 us. Categories are their own bins; what is outside is counted in the last.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.wire.profile import Channel

Values = NDArray[np.float64]
CountArray = NDArray[np.int64]

FEW_EDGES = 16
"""With more edges than this, a search is cheaper."""


def bin_values(channel: Channel, values: Values) -> CountArray:
    """Count ``values`` of shape ``(n,)`` into one channel's bins."""
    return np.bincount(_bins_of(channel, values), minlength=channel.bins)


class Binner:
    """Counts rows of channel values."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        """Lay the bins of all channels out one after another."""
        widths = [channel.bins for channel in channels]
        self.total = sum(widths)
        """How many bins there are."""
        self._starts = np.cumsum([0, *widths])[:-1].astype(np.int64)
        few = [
            channel.edges
            if not channel.categories and len(channel.edges) <= FEW_EDGES
            else []
            for channel in channels
        ]
        self._edges = np.full((max(map(len, few), default=0), len(few)), np.inf)
        for place, edges in enumerate(few):
            self._edges[: len(edges), place] = edges
        self._others = [
            (place, channel)
            for place, channel in enumerate(channels)
            if channel.categories or len(channel.edges) > FEW_EDGES
        ]

    def count(self, values: Values) -> CountArray:
        """Return the counts of rows ``(n, channels)``, shape ``(total,)``."""
        bins = np.zeros(values.shape, np.int64)
        for edges in self._edges:
            bins += values >= edges
        for place, channel in self._others:
            bins[:, place] = _bins_of(channel, values[:, place])
        bins += self._starts
        return np.bincount(bins.ravel(), minlength=self.total)

    def split(self, counts: CountArray) -> list[CountArray]:
        """Return the counts of each channel."""
        return np.split(counts, self._starts[1:]) if len(self._starts) else []


def _bins_of(channel: Channel, values: Values) -> CountArray:
    if channel.categories:
        return np.clip(values.astype(np.int64), 0, len(channel.categories) - 1)
    return np.searchsorted(np.asarray(channel.edges), values, side="right")

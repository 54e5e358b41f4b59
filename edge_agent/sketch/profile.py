"""The profile of one window: bin counts, moments, latency and rejections.

Rows are buffered and counted 64 at a time, which makes a sample cost well under a
microsecond a channel. Not thread-safe: one owner.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.sketch.bins import Binner, CountArray
from edge_agent.sketch.latency import BINS_PER_DOUBLING, MIN_US, bin_of
from edge_agent.sketch.moments import Moments
from edge_agent.wire.profile import Channel, ProfileData

BUFFER_ROWS = 64

Values = NDArray[np.float64]


class WindowProfile:
    """An open window. ``rows`` tells how many samples it has accepted."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        """Start an empty window over ``channels``."""
        self.channels = tuple(channels)
        self.rows = 0
        self._buffer = np.empty((BUFFER_ROWS, len(self.channels)))
        self._buffered = 0
        self._binner = Binner(self.channels)
        self._counts = np.zeros(self._binner.total, np.int64)
        self._moments = Moments(len(self.channels))
        self._latency: Counter[int] = Counter()
        self._rejected: Counter[str] = Counter()

    def add(self, values: Values, latency_us: float) -> None:
        """Add one sample's channel values, shape ``(channels,)``, and its latency."""
        self._buffer[self._buffered] = values
        self._buffered += 1
        self.rows += 1
        self._latency[bin_of(latency_us)] += 1
        if self._buffered == BUFFER_ROWS:
            self._flush()

    def add_rows(self, values: Values, latencies_us: Sequence[float] = ()) -> None:
        """Add many samples at once, shape ``(n, channels)``, and their latencies."""
        self._flush()
        self._count(values)
        self.rows += len(values)
        self._latency.update(_bins_of(latencies_us))

    def reject(self, reason: str, times: int = 1) -> None:
        """Count a sample that failed a quality check; it enters nothing else."""
        self._rejected[reason] += times

    @property
    def rejected(self) -> int:
        """How many samples were rejected."""
        return self._rejected.total()

    def to_wire(self) -> ProfileData:
        """Return the window's content."""
        self._flush()
        return ProfileData(
            rows=self.rows,
            counts=[one.tolist() for one in self._binner.split(self._counts)],
            moments=self._moments.to_wire(),
            latency={str(k): n for k, n in sorted(self._latency.items())},
            rejected=dict(self._rejected),
        )

    def _flush(self) -> None:
        if self._buffered:
            self._count(self._buffer[: self._buffered])
            self._buffered = 0

    def _count(self, values: Values) -> None:
        self._counts += self._binner.count(values)
        self._moments.add(values)


def _bins_of(latencies_us: Sequence[float]) -> list[int]:
    """Return the bin of each latency; see :func:`~edge_agent.sketch.latency.bin_of`."""
    doublings = np.log2(np.maximum(np.asarray(latencies_us, np.float64), MIN_US))
    bins: list[int] = np.floor(doublings * BINS_PER_DOUBLING).astype(int).tolist()
    return bins


def merge_counts(windows: Iterable[ProfileData]) -> list[CountArray]:
    """Add up the bin counts of windows over the same channels.

    Raises:
        ValueError: There is no window, or their channels differ.
    """
    total: list[CountArray] | None = None
    for window in windows:
        counts = [np.asarray(c, np.int64) for c in window.counts]
        if total is None:
            total = counts
        elif [len(c) for c in counts] != [len(c) for c in total]:
            raise ValueError("profiles over different channels cannot be merged")
        else:
            total = [a + b for a, b in zip(total, counts, strict=True)]
    if total is None:
        raise ValueError("nothing to merge")
    return total

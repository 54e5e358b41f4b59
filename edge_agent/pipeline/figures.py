"""Figures of one release on this device: since its load, and of its latest requests.

The latest requests are the device's own baseline: what PROBATION compares the next
release with. Not thread-safe: the sample path's lock guards it.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_agent.sketch.latency import bin_of

BASELINE_ROWS = 500
BURST = 10
"""Requests of which several that fell to the release before count once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One request: a prediction (``index`` set), a rejection, or a failure."""

    index: int = -1
    confidence: float = 0.0
    latency_bin: int = 0
    rejected: str = ""
    failed: bool = False
    fallback: bool = False
    """It failed, and the release before answered in its place."""


@dataclass(slots=True)
class Figures:
    """Counts over requests; ``class_counts`` is in the order of the labels."""

    release: int
    sha256: str
    class_counts: list[int]
    predictions: int = 0
    errors: int = 0
    confidence_sum: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)
    fallbacks: int = 0
    since_fallback: int = BURST
    """Requests since a fallback was counted: what makes a model fail lasts a while."""

    def add(self, event: Event) -> None:
        """Count one request."""
        self.since_fallback += 1
        if event.failed:
            self.errors += 1
            if event.fallback and self.since_fallback > BURST:
                self.fallbacks += 1
                self.since_fallback = 1
        elif event.rejected:
            self.rejected[event.rejected] += 1
        else:
            self.predictions += 1
            self.confidence_sum += event.confidence
            self.latency[event.latency_bin] += 1
            if 0 <= event.index < len(self.class_counts):
                self.class_counts[event.index] += 1

    def add_all(self, events: Iterable[Event]) -> None:
        """Count many requests."""
        for event in events:
            self.add(event)


def predicted(index: int, confidence: float, latency_us: float) -> Event:
    """Return the event of a prediction."""
    return Event(index=index, confidence=confidence, latency_bin=bin_of(latency_us))


class Tally:
    """The figures of the release that is served, and of its latest requests."""

    def __init__(
        self, release: int, sha256: str, classes: int, *, keep: int = BASELINE_ROWS
    ) -> None:
        """Start at nothing; ``keep`` requests make the baseline."""
        self._latest: deque[Event] = deque(maxlen=keep)
        self.figures = Figures(release, sha256, [0] * classes)

    def add(self, event: Event) -> None:
        """Count one request."""
        self.figures.add(event)
        self._latest.append(event)

    def baseline(self) -> Figures:
        """Return the figures of the latest requests only."""
        now = self.figures
        latest = Figures(now.release, now.sha256, [0] * len(now.class_counts))
        latest.add_all(self._latest)
        return latest

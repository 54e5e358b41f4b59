"""Live requests that two releases were asked: bounded, and without their inputs.

Not thread-safe: the lock of the shadow guards it. Latencies are left out on purpose.
A live request runs warm in the thread that asks, while the release beside it is asked
afterwards, by a thread that wakes for it and stands back. Of two models whose times
are as 2.3 to 1 when they take turns, live pairs said 1.0 to 4.2, by rate and load.
Latency is compared by the paired test, which takes turns.
"""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from edge_agent.evidence.answers import answer_of
from edge_agent.evidence.judge import PairedFigures
from edge_agent.evidence.statistics import Answer, Pair, measure
from edge_agent.pipeline.prediction import Prediction

MAX_PAIRS = 512
"""The latest that figures are made of."""
MAX_STREAMS = 64
"""Beyond so many, the one that was heard first begins anew."""
MAX_VALUES = 32
"""Numbers kept of an answer without classes, spread evenly over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sample stands: the ``number``-th of its ``stream``."""

    stream: int
    number: int


class StreamPlaces:
    """Counts the samples of each stream, sampled or not."""

    def __init__(self) -> None:
        """Begin without a stream."""
        self._known: dict[str, list[int]] = {}
        self._streams = 0

    def count(self, stream: str) -> list[int]:
        """Count one more sample; return the numbers of its stream and its own."""
        place = self._known.get(stream)
        if place is None:
            self._streams += 1
            place = self._known[stream] = [self._streams, 0]
            if len(self._known) > MAX_STREAMS:
                del self._known[next(iter(self._known))]
        place[1] += 1
        return place


class PairLog:
    """The latest pairs."""

    def __init__(self) -> None:
        """Begin without pairs."""
        self._pairs: deque[Pair] = deque(maxlen=MAX_PAIRS)

    def add(
        self, place: Place, incumbent: Prediction | None, candidate: Prediction | None
    ) -> None:
        """Keep what both answered (``None``: a release failed at the sample)."""
        self._pairs.append(
            Pair(
                stream=place.stream,
                number=place.number,
                incumbent=_compact(incumbent),
                candidate=_compact(candidate),
            )
        )

    def copy(self) -> list[Pair]:
        """Return the pairs, oldest first."""
        return list(self._pairs)


def figures_of(pairs: list[Pair], entropy: float = 0.0) -> PairedFigures:
    """Return the figures of live pairs; ``latency_ratio`` is ``None``.

    Args:
        pairs: Oldest first.
        entropy: How much the incumbent's class varies in its reference profile (nats).
    """
    return measure(pairs, expected_entropy=entropy)


def _compact(made: Prediction | None) -> Answer | None:
    if made is None:
        return None
    told = (made.index, made.confidence)
    answer = answer_of(told, made.outputs, [*made.outputs], 0.0)
    values = answer.values
    if values is None or values.size <= MAX_VALUES:
        return answer
    places = np.linspace(0, values.size - 1, MAX_VALUES).astype(int)
    return replace(answer, values=values[places])

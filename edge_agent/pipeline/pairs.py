"""Live requests that two releases were asked: bounded, and without their inputs.

Not thread-safe: the lock of the shadow guards it. Latencies are left out on purpose.
A live request runs warm in the thread that asks, while the release beside it is asked
afterwards, by a thread that wakes for it and stands back. Of two models whose times
are as 2.3 to 1 when they take turns, live pairs said 1.0 to 4.2, by rate and load.
Latency is compared by the paired test, which takes turns.
"""

from dataclasses import dataclass

from edge_agent.evidence.answers import answer_of
from edge_agent.evidence.judge import PairedFigures
from edge_agent.evidence.statistics import Answer, Pair, measure
from edge_agent.pipeline.prediction import Prediction

LOOKS = (64, 128, 256, 512)
"""Pairs are judged when there are so many, and not in between: whoever looks all along
stops most good releases sooner or later. Fewer than the first tell how many there are.
"""
MAX_PAIRS = 2 * LOOKS[-1]
"""So many are kept at most, those that say nothing among them."""
MAX_STREAMS = 64
"""Beyond so many, the one that was heard first begins anew."""


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
    """The pairs until the last look."""

    def __init__(self) -> None:
        """Begin without pairs."""
        self._pairs: list[Pair] = []
        self._n = 0
        self._looked = 0

    def add(
        self,
        place: Place,
        incumbent: Prediction | None,
        candidate: Prediction | None,
        *,
        refused: bool = False,
    ) -> None:
        """Keep what both answered (``None``: a release failed at the sample).

        ``refused``: the one without an answer does not take the sample, for its
        quality.
        """
        if len(self._pairs) == MAX_PAIRS or self._n == LOOKS[-1]:
            return
        self._pairs.append(
            Pair(
                stream=place.stream,
                number=place.number,
                incumbent=_compact(incumbent),
                candidate=_compact(candidate),
                refused=refused,
            )
        )
        self._n += not refused and (incumbent or candidate) is not None
        if self._n in LOOKS or self._n < LOOKS[0]:
            self._looked = len(self._pairs)

    def at_look(self) -> list[Pair]:
        """Return the pairs that there were at the last look, oldest first."""
        return self._pairs[: self._looked]


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
    return answer_of(told, made.outputs, [*made.outputs], 0.0)

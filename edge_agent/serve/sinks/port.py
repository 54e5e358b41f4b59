"""What a sink is: a bounded queue, a rule in front of it, a thread behind it.

Nothing here may slow a prediction down: :meth:`Sink.offer` never waits. When a
receiver is slower than the model the oldest prediction goes first and is counted.
"""

import threading
from dataclasses import dataclass
from typing import Protocol

import msgspec

from edge_agent.serve.protocol import OutputValues, Prediction
from edge_agent.serve.sinks.rule import RuleBook
from edge_agent.serve.sources.newest import Newest

TAKE_S = 0.5


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink hands on, as JSON: a prediction, and whose it is.

    ``stream`` is what follows one after another: the name of a source, with the topic
    or recording behind a slash where it has several, or ``api``. ``id`` is the same
    when a notice comes twice, so that a receiver can tell.
    """

    id: str
    device: str
    stream: str
    sample_id: str
    label: str
    confidence: float
    probabilities: list[float]
    served_by: str
    release: int
    at: float
    """Wall time of the prediction, seconds since 1970 UTC."""
    outputs: dict[str, OutputValues] = {}
    """The answer of a model that tells no classes; its ``label`` is empty."""


@dataclass(slots=True)
class SinkCounters:
    """What became of the notices that passed the rule."""

    sent: int = 0
    failed: int = 0
    dropped: int = 0


class Delivery(Protocol):
    """How one kind of sink hands notices on."""

    @property
    def problem(self) -> str:
        """Why the last one could not be handed on, or empty."""
        ...

    def deliver(self, notice: Notice, stop: threading.Event) -> bool:
        """Hand one on; false: it could not be, and is not tried again."""
        ...


class Sink:
    """One sink; :meth:`run` is the body of its thread."""

    def __init__(
        self,
        name: str,
        kind: str,
        delivery: Delivery,
        rule: RuleBook | None,
        depth: int,
    ) -> None:
        """Queue at most ``depth`` notices."""
        self.name, self.kind = name, kind
        self.counters = SinkCounters()
        self._delivery = delivery
        self._rule = rule
        self._judging = threading.Lock()
        self._queue: Newest[Notice] = Newest(depth)

    @property
    def problem(self) -> str:
        """Why the last notice could not be handed on, or empty."""
        return self._delivery.problem

    def offer(self, notice: Notice, now_s: float) -> None:
        """Take a prediction; any thread may. Never waits for the receiver."""
        if self._rule is not None:
            with self._judging:
                wanted = self._rule.judge(
                    notice.stream, notice.label, notice.confidence, now_s
                )
            if not wanted:
                return
        self._queue.put(notice)

    def run(self, stop: threading.Event) -> None:
        """Hand on what was taken until told to stop."""
        while not stop.is_set():
            taken = self._queue.take(TAKE_S)
            self.counters.dropped += self._queue.dropped()
            if taken is None:
                continue
            if self._delivery.deliver(taken[1], stop):
                self.counters.sent += 1
            else:
                self.counters.failed += 1


def notice_of(prediction: Prediction, *, boot: str, device: str, stream: str) -> Notice:
    """Return what sinks hand on of a prediction."""
    return Notice(
        id=f"{boot}-{prediction.number}",
        device=device,
        stream=stream,
        sample_id=prediction.sample_id,
        label=prediction.label,
        confidence=prediction.confidence,
        probabilities=prediction.probabilities,
        served_by=prediction.served_by,
        release=prediction.release,
        at=prediction.at,
        outputs=prediction.outputs,
    )

"""The port: what a source is to the worker, and what the worker is to a source.

A source never runs ahead of the model: it asks, and waits for the answer. Files wait
for as long as it takes (nothing of them is lost); a stream whose model is busy goes on
with what is newest, and what it leaves out is counted as dropped.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Protocol

from edge_agent.base.clock import Clock
from edge_agent.serve.joined import Values
from edge_agent.wire.manifest import InputContract

MAX_SAMPLE_ID = 128


class Outcome(StrEnum):
    """What became of one sample."""

    ANSWERED = auto()
    REJECTED = auto()
    """It failed a quality check; another attempt would, too."""
    FAILED = auto()
    BUSY = auto()
    """No model could take it now; it may be offered again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The outcome, and why it is not an answer."""

    outcome: Outcome
    why: str = ""


@dataclass(slots=True)
class Counters:
    """What came of a source's samples and files since the worker started."""

    offered: int = 0
    answered: int = 0
    rejected: int = 0
    failed: int = 0
    dropped: int = 0
    files_done: int = 0
    files_failed: int = 0


Ask = Callable[[str, str, Values], Taken]
"""Infer one sample, wait for its answer: its stream, its id, its values."""
Spawn = Callable[[str, Callable[[], None]], object]
"""Start a thread: its name and body. The composition root owns the threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePorts:
    """What a source needs of the worker. No contract: nothing is loaded yet.

    ``skips`` tells whether sample ``n`` of a stream, ``defers`` whether files are left
    out for now because the device is too hot.
    """

    clock: Clock
    contract: Callable[[], InputContract | None]
    ask: Ask
    spawn: Spawn
    skips: Callable[[int], bool] = lambda _number: False
    defers: Callable[[], bool] = lambda: False


class Source(Protocol):
    """Where samples come from; :meth:`run` is the body of its thread."""

    name: str
    kind: str
    counters: Counters

    @property
    def problem(self) -> str:
        """Why nothing comes, or empty."""
        ...

    def run(self, stop: threading.Event) -> None:
        """Deliver samples until told to stop."""
        ...


RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0
DEFER_S = 1.0
MAX_TRIES = 12
"""Of a sample that a loaded model cannot take: about half a minute of waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Offers samples of one source to the model and counts what becomes of them."""

    name: str
    ports: SourcePorts
    counters: Counters = field(default_factory=Counters)

    def offer(self, sample_id: str, sample: Values, stream: str = "") -> Taken:
        """Offer a sample of a stream once; a busy model drops it.

        ``stream`` tells several of one source apart: what follows one after another.
        """
        counters = self.counters
        counters.offered += 1
        if self.ports.skips(counters.offered):
            taken = Taken(outcome=Outcome.BUSY, why="the sampling rate is lowered")
        else:
            taken = self._ask(sample_id, sample, stream)
        self._count(taken)
        return taken

    def insist(self, stop: threading.Event, sample_id: str, sample: Values) -> Taken:
        """Offer a sample that must not be lost until there is an outcome.

        A busy model is asked again, for ``MAX_TRIES``; ``BUSY`` is the answer (and is
        not counted) when ``stop`` was set or the model was unloaded meanwhile. A device
        that is too hot makes files wait for as long as it is.
        """
        pause_s = RETRY_FIRST_S
        while self.ports.defers():
            if stop.wait(DEFER_S):
                return Taken(outcome=Outcome.BUSY, why="files wait: it is too hot")
        taken = self._ask(sample_id, sample)
        for _ in range(MAX_TRIES):
            if taken.outcome is not Outcome.BUSY:
                break
            if stop.wait(pause_s) or self.ports.contract() is None:
                return taken
            pause_s = min(2 * pause_s, RETRY_MAX_S)
            taken = self._ask(sample_id, sample)
        if taken.outcome is Outcome.BUSY:
            taken = Taken(outcome=Outcome.FAILED, why=taken.why)
        self._count(taken)
        return taken

    def drop(self, count: int = 1) -> None:
        """Count what was left out before it was offered."""
        self.counters.dropped += count

    def _ask(self, sample_id: str, sample: Values, stream: str = "") -> Taken:
        origin = f"{self.name}/{_clean(stream)}" if stream else self.name
        return self.ports.ask(origin, _clean(sample_id), sample)

    def _count(self, taken: Taken) -> None:
        counters = self.counters
        match taken.outcome:
            case Outcome.ANSWERED:
                counters.answered += 1
            case Outcome.REJECTED:
                counters.rejected += 1
            case Outcome.FAILED:
                counters.failed += 1
            case Outcome.BUSY:
                counters.dropped += 1


def _clean(name: str) -> str:
    """Return text that fits a sample's id; the end of a long name has the offset."""
    # File names may hold what is no text.
    return name.encode(errors="replace").decode()[-MAX_SAMPLE_ID:]

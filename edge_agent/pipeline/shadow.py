"""A release in shadow: it gets what the active one was asked, and answers nobody.

It is the candidate before the activation, or afterwards the release before, which the
ladder keeps loaded. Invariants: a live request pays for at most an enqueue, made after
its reply is sent; the queue is bounded, and what does not fit or comes while live
requests wait is dropped and counted; whatever the release does short of killing the
process reaches no request. The sampled requests are spread evenly over any period that
a source may have. Called by the sample path and by reloads; one thread of low priority
asks the release.
"""

import contextlib
import logging
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from edge_agent.base.clock import Clock
from edge_agent.errors import AgentError, SampleRejectedError, WorkerError
from edge_agent.evidence.judge import PairedFigures
from edge_agent.pipeline.answer import disagree
from edge_agent.pipeline.pairs import PairLog, Place, StreamPlaces, figures_of
from edge_agent.pipeline.prediction import Given, Prediction, Predictor
from edge_agent.pipeline.recent import OtherAnswer
from edge_agent.pipeline.validate import QUALITY
from edge_agent.sketch.latency import bin_of, quantile_us
from edge_agent.wire.records import ShadowSummary

SHADOW_LOADED = "shadow.loaded"
SHADOW_FAILED = "shadow.failed"
QUEUE_DEPTH = 8
NICENESS = 10
PREVIOUS_PAIRS = 1024
"""So many samples are given to the release before; then its pairs are enough."""
_GOLDEN = 0.6180339887498949

log = logging.getLogger(__name__)


class Role(StrEnum):
    """What a release in shadow is to the active one."""

    CANDIDATE = "candidate"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowPlan:
    """Which release runs in shadow (0: none), and on which share of the requests.

    ``entropy`` is how much the incumbent's class varies in its reference profile, in
    nats (0: not known).
    """

    release: int = 0
    ratio: float = 0.0
    role: Role = Role.CANDIDATE
    entropy: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A release that can be asked, and what of its contract pairs need.

    ``stateful`` is a model whose answers depend on samples before.
    """

    predictor: Predictor
    labels: tuple[str, ...] = ()
    stateful: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowPorts:
    """What a shadow needs: the candidate, a thread, memory in use, and a way out.

    ``give_up`` ends the process: a thread that never returns cannot be ended otherwise.
    ``is_shed`` tells whether the device is too hot for it now.
    """

    clock: Clock
    load: Callable[[int], Opened]
    spawn: Callable[[str, Callable[[], None]], object]
    rss_bytes: Callable[[], int]
    give_up: Callable[[], None]
    is_shed: Callable[[], bool] = lambda: False


class Asked(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A live request: its sample, and what the active release answered.

    ``answer`` is ``None`` where the active release failed. ``attach`` keeps the other
    answer for a late label, and tells whether that came already; ``None`` where no
    label can come. ``stateful``: the active release's answers depend on samples before.
    """

    sample: Given
    answer: Prediction | None
    attach: Callable[[OtherAnswer], bool] | None = None
    stateful: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowView:
    """How the release does; ``busy_s`` is how long its present step has taken.

    ``labels_early`` counts samples whose label came before its answer did.
    """

    summary: ShadowSummary
    ready: bool = False
    busy_s: float = 0.0
    problem: str = ""
    labels_early: int = 0


class Shadow:
    """One release beside the active one."""

    def __init__(
        self, plan: ShadowPlan, open_: Callable[[], Opened], ports: ShadowPorts
    ) -> None:
        """Prepare; :meth:`run` opens the release on its own thread."""
        self.plan = plan
        self.ended = threading.Event()
        self._open = open_
        self._ports = ports
        self._jobs: queue.SimpleQueue[tuple[Asked, Place] | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._turn = 0.0
        self._places = StreamPlaces()
        self._left = PREVIOUS_PAIRS if plan.role is Role.PREVIOUS else None
        self._ready = False
        self._problem = ""
        self._since: float | None = ports.clock.mono()
        self._rss_bytes = 0
        self._n = self._errors = self._dropped = self._different = self._early = 0
        self._shift = 0.0
        self._latency: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        self._pairs: PairLog | None = PairLog()

    def take_turn(self, stream: str) -> Place | None:
        """Count a request of a stream; return its place if it is one of the sampled."""
        with self._lock:
            place = self._places.count(stream)
            self._turn = (self._turn + _GOLDEN) % 1.0
            if self._turn >= self.plan.ratio or self._left == 0:
                return None
            return Place(stream=place[0], number=place[1])

    def offer(self, asked: Asked, place: Place, *, busy: bool) -> None:
        """Take an answered sample, unless live requests wait or too many do here."""
        if busy or not self._ready or self._jobs.qsize() >= QUEUE_DEPTH:
            self._drop()
        else:
            self._jobs.put((asked, place))

    def run(self) -> None:
        """Open the release, try samples until :meth:`close` or the limit, free it."""
        with contextlib.suppress(OSError):
            # Linux: of this thread alone.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            opened = self._load()
            if opened is not None:
                self._work(opened)
                opened.predictor.close()
        finally:
            self._let_go()
            self.ended.set()

    def close(self) -> None:
        """Take no more samples; what waits is dropped."""
        self._closed.set()
        self._jobs.put(None)

    def view(self) -> ShadowView:
        """Return how it does."""
        now = self._ports.clock.mono()
        with self._lock:
            since = self._since
            return ShadowView(
                summary=self._summary(),
                ready=self._ready,
                busy_s=now - since if since is not None else 0.0,
                problem=self._problem,
                labels_early=self._early,
            )

    def figures(self) -> PairedFigures | None:
        """Return the figures of the latest pairs, by the order of the releases.

        The incumbent is the active release beside a candidate, and the release before
        once that is active. ``None``: one of them keeps state between samples, so its
        answers to single ones say nothing.
        """
        with self._lock:
            pairs = None if self._pairs is None else self._pairs.at_look()
        return None if pairs is None else figures_of(pairs, self.plan.entropy)

    def _load(self) -> Opened | None:
        is_candidate = self.plan.role is Role.CANDIDATE
        before = self._ports.rss_bytes() if is_candidate else 0
        try:
            opened = self._open()
        except AgentError as error:
            log.warning(
                SHADOW_FAILED, extra={"release": self.plan.release, "why": str(error)}
            )
            with self._lock:
                self._problem, self._since = f"{error.code}: {error.text}", None
            return None
        log.info(
            SHADOW_LOADED,
            extra={"release": self.plan.release, "role": self.plan.role.value},
        )
        with self._lock:
            if is_candidate:
                self._rss_bytes = max(0, self._ports.rss_bytes() - before)
            if opened.stateful:
                self._pairs = None
            self._ready, self._since = True, None
        return opened

    def _work(self, opened: Opened) -> None:
        while self._left != 0:
            job = self._jobs.get()
            if job is None or self._closed.is_set():
                return
            asked, place = job
            with self._lock:
                self._since = self._ports.clock.mono()
            refused = False
            try:
                tried = _ask(opened.predictor, asked.sample)
            except WorkerError:
                # Nobody's fault: the release has live requests to answer, or none left.
                self._drop(is_tried=True)
                continue
            except SampleRejectedError:
                tried, refused = None, True
            early = self._attach(opened, asked, tried)
            with self._lock:
                self._since = None
                self._early += early
                self._note(asked, place, tried, refused=refused)

    def _attach(self, opened: Opened, asked: Asked, tried: Prediction | None) -> bool:
        if tried is None or not tried.label or asked.attach is None:
            return False
        if opened.stateful or asked.stateful:
            return False
        return asked.attach(
            OtherAnswer(
                release=self.plan.release, predicted=tried.label, labels=opened.labels
            )
        )

    def _let_go(self) -> None:
        """Drop what waits; the figures stay."""
        with contextlib.suppress(queue.Empty):
            while self._jobs.get_nowait() is not None:
                self._drop()

    def _drop(self, *, is_tried: bool = False) -> None:
        with self._lock:
            self._dropped += 1
            if is_tried:
                self._since = None

    def _note(
        self, asked: Asked, place: Place, tried: Prediction | None, *, refused: bool
    ) -> None:
        """Count a pair; the lock is held."""
        answer = asked.answer
        if self._left is not None:
            self._left -= 1
        if asked.stateful:
            self._pairs = None
        if self._pairs is not None:
            pair = (answer, tried)
            incumbent, candidate = pair if self._left is None else reversed(pair)
            self._pairs.add(place, incumbent, candidate, refused=refused)
        if answer is not None and not refused:
            self._compare(answer, tried)

    def _compare(self, answer: Prediction, tried: Prediction | None) -> None:
        if tried is None:
            self._errors += 1
            return
        self._n += 1
        self._different += disagree(tried, answer)
        self._shift += tried.confidence - answer.confidence
        for counts, made in zip(self._latency, (answer, tried), strict=True):
            counts[bin_of(made.latency_us)] += 1

    def _summary(self) -> ShadowSummary:
        active, other = (quantile_us(counts, 0.5) for counts in self._latency)
        n = max(self._n, 1)
        return ShadowSummary(
            release=self.plan.release,
            n=self._n,
            errors=self._errors,
            dropped=self._dropped,
            disagreement_ratio=self._different / n,
            confidence_shift=min(max(self._shift / n, -1.0), 1.0),
            latency_ratio=min(other / active, 1e9) if active else 0.0,
            rss_bytes=self._rss_bytes,
        )


def _ask(predictor: Predictor, sample: Given) -> Prediction | None:
    """Return an answer, or ``None`` where the release failed.

    Raises:
        WorkerError: It was not asked, or not waited for.
        SampleRejectedError: Its quality limits leave the sample out.
    """
    try:
        return predictor.predict(sample)
    except WorkerError:
        raise
    except SampleRejectedError as error:
        if error.reason in QUALITY:
            raise
        return None
    except Exception:  # noqa: BLE001 - whatever it is, it is the release's
        return None

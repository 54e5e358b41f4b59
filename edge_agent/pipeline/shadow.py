"""A release in shadow: it gets what the active one answered, and answers nobody.

Invariants: a live request pays for at most an enqueue, made after its reply is sent;
the queue is bounded, and what does not fit or comes while live requests wait is dropped
and counted; whatever the candidate does short of killing the process reaches no
request. The sampled requests are spread evenly over any period that a source may have.
Called by the sample path and by reloads; one thread of low priority runs the candidate.
"""

import contextlib
import logging
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.base.clock import Clock
from edge_agent.errors import AgentError
from edge_agent.pipeline.answer import disagree
from edge_agent.pipeline.owner import Owner
from edge_agent.pipeline.prediction import Given, Prediction, Predictor
from edge_agent.sketch.latency import bin_of, quantile_us
from edge_agent.wire.records import ShadowSummary

SHADOW_LOADED = "shadow.loaded"
SHADOW_FAILED = "shadow.failed"
SHADOW_ENDED = "shadow.ended"
SHADOW_STUCK = "shadow.stuck"
QUEUE_DEPTH = 8
NICENESS = 10
END_S = 1.0
"""How long a reload waits for the candidate to be freed."""
STUCK_S = 2.0
"""After so much longer, what does not end is taken to never end."""
_GOLDEN = 0.6180339887498949

_Job = tuple[Given, Prediction]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowPorts:
    """What a shadow needs: the candidate, a thread, memory in use, and a way out.

    ``give_up`` ends the process: a thread that never returns cannot be ended otherwise.
    ``is_shed`` tells whether the device is too hot for it now.
    """

    clock: Clock
    load: Callable[[int], Predictor]
    spawn: Callable[[str, Callable[[], None]], object]
    rss_bytes: Callable[[], int]
    give_up: Callable[[], None]
    is_shed: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowView:
    """How the candidate does; ``busy_s`` is how long its present step has taken."""

    summary: ShadowSummary
    ready: bool = False
    busy_s: float = 0.0
    problem: str = ""


class Shadow:
    """One candidate beside the active release."""

    def __init__(self, release: int, ratio: float, ports: ShadowPorts) -> None:
        """Prepare; :meth:`run` loads the candidate on its own thread."""
        self.release = release
        self.ratio = ratio
        self.ended = threading.Event()
        self._ports = ports
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._place = 0.0
        self._ready = False
        self._problem = ""
        self._since: float | None = ports.clock.mono()
        self._rss_bytes = 0
        self._n = self._errors = self._dropped = self._different = 0
        self._shift = 0.0
        self._latency: tuple[Counter[int], Counter[int]] = (Counter(), Counter())

    def samples_next(self) -> bool:
        """Tell whether the next request is one of the sampled."""
        with self._lock:
            self._place = (self._place + _GOLDEN) % 1.0
            return self._place < self.ratio

    def offer(self, sample: Given, answer: Prediction, *, busy: bool) -> None:
        """Take an answered sample, unless live requests wait or too many do here."""
        if busy or not self._ready or self._jobs.qsize() >= QUEUE_DEPTH:
            with self._lock:
                self._dropped += 1
        else:
            self._jobs.put((sample, answer))

    def run(self) -> None:
        """Load the candidate, try samples until :meth:`close`, free it."""
        with contextlib.suppress(OSError):
            # Linux: of this thread alone.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            candidate = self._load()
            if candidate is not None:
                self._work(candidate)
                candidate.close()
        finally:
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
            )

    def _load(self) -> Predictor | None:
        before = self._ports.rss_bytes()
        try:
            candidate = self._ports.load(self.release)
        except AgentError as error:
            log.warning(
                SHADOW_FAILED, extra={"release": self.release, "why": str(error)}
            )
            with self._lock:
                self._problem, self._since = f"{error.code}: {error.text}", None
            return None
        log.info(SHADOW_LOADED, extra={"release": self.release})
        with self._lock:
            self._rss_bytes = max(0, self._ports.rss_bytes() - before)
            self._ready, self._since = True, None
        return candidate

    def _work(self, candidate: Predictor) -> None:
        while not self._closed.is_set() and (job := self._jobs.get()) is not None:
            sample, answer = job
            with self._lock:
                self._since = self._ports.clock.mono()
            try:
                tried: Prediction | None = candidate.predict(sample)
            except Exception:  # noqa: BLE001 - whatever it is, it is the candidate's
                tried = None
            with self._lock:
                self._since = None
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
        active, candidate = (quantile_us(counts, 0.5) for counts in self._latency)
        n = max(self._n, 1)
        return ShadowSummary(
            release=self.release,
            n=self._n,
            errors=self._errors,
            dropped=self._dropped,
            disagreement_ratio=self._different / n,
            confidence_shift=min(max(self._shift / n, -1.0), 1.0),
            latency_ratio=min(candidate / active, 1e9) if active else 0.0,
            rss_bytes=self._rss_bytes,
        )


class Beside:
    """The place for a shadow in the sample path; mostly it is empty."""

    def __init__(self, ports: ShadowPorts | None = None) -> None:
        """Start with none; without ``ports`` there can be none."""
        self._ports = ports
        self._present: Shadow | None = None
        self._mine = threading.local()

    def note(self, sample: Given, answer: Prediction, owner: Owner) -> None:
        """Remember what the calling thread just answered, if it is to be tried."""
        shadow = self._present
        if shadow is not None and shadow.samples_next():
            self._mine.job = (shadow, sample, answer, owner)

    def after_reply(self) -> None:
        """Hand over what the calling thread remembers: its reply is sent.

        Called by whoever sends replies; by a thread's next request at the latest.
        """
        job, ports = getattr(self._mine, "job", None), self._ports
        if job is not None:
            self._mine.job = None
            shadow, sample, answer, owner = job
            busy = owner.waiting > 0 or (ports is not None and ports.is_shed())
            shadow.offer(sample, answer, busy=busy)

    def follow(self, release: int, ratio: float) -> None:
        """Run this release in shadow (0: none); reloads go one at a time."""
        present, ports = self._present, self._ports
        if ports is None or (present and present.release == release):
            return
        self._present = None
        if present is not None:
            self._end(present, ports)
        if release:
            self._present = fresh = Shadow(release, ratio, ports)
            ports.spawn(f"shadow-{release}", fresh.run)

    def view(self) -> ShadowView:
        """Return how the shadow does (release 0: there is none)."""
        shadow = self._present
        return (
            ShadowView(summary=ShadowSummary(release=0))
            if not shadow
            else shadow.view()
        )

    def _end(self, shadow: Shadow, ports: ShadowPorts) -> None:
        shadow.close()
        if shadow.ended.wait(END_S):
            log.info(SHADOW_ENDED, extra={"release": shadow.release})
            return

        def watch() -> None:
            if not shadow.ended.wait(STUCK_S):
                log.error(SHADOW_STUCK, extra={"release": shadow.release})
                ports.give_up()

        ports.spawn("shadow-end", watch)

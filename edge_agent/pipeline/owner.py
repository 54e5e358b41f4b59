"""One owner thread per model, and the bounded queue of two classes before it.

An interpreter is not thread-safe: all its calls are made by one thread. Live requests
go first; background work (a shadow, bulk of a source, the watchdog's own inference)
waits for a gap and is shed first: a live request that finds the queue full takes the
place of the oldest background one, and is refused only where all others are live too.
A request that waits longer than its deadline is given up and leaves the queue; one
that finds the model stuck for that long already is not even queued.
"""

import queue
import threading
import time
from collections import deque
from enum import StrEnum, auto

from edge_agent.errors import WorkerError
from edge_agent.pipeline.prediction import Given, Prediction, Predictor

QUEUE_DEPTH = 64
STEP_TIMEOUT_S = 1.0
SWAPPED_OUT = "AGENT-WORKER-006"
SHED = "AGENT-WORKER-012"
HUNG = "AGENT-WORKER-013"


class OwnerClosedError(WorkerError):
    """The model was swapped out meanwhile; ask the one that is served now."""


class ShedError(WorkerError):
    """Background work that gave way to live requests; it is not tried again."""


class Urgency(StrEnum):
    """Which of the two classes a request is of."""

    LIVE = auto()
    BACKGROUND = auto()


class _Job:
    """A sample on its way, and its answer once ``done`` can be had.

    A bare lock: a future wakes its waiter through a condition, which costs 4 us more.
    """

    __slots__ = ("done", "given_up", "outcome", "sample")

    def __init__(self, sample: Given) -> None:
        self.sample = sample
        self.done = threading.Lock()
        self.done.acquire()
        self.given_up = False
        self.outcome: Prediction | Exception | None = None

    def settle(self, outcome: Prediction | Exception) -> None:
        self.outcome = outcome
        self.done.release()


class Owner:
    """The only user of one model. Someone runs :meth:`run` in a thread of its own."""

    def __init__(self, predictor: Predictor, *, depth: int = QUEUE_DEPTH) -> None:
        """Take over a model; at most ``depth`` requests wait for it."""
        self._predictor = predictor
        self._depth = depth
        self._waiting: dict[Urgency, deque[_Job]] = {u: deque() for u in Urgency}
        # One token a job: waking by it costs less than a condition variable. A job
        # that left the queue leaves its token behind, which wakes the owner in vain.
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._running_since: float | None = None

    def run(self) -> None:
        """Answer requests until :meth:`close`, live ones first; then free the model."""
        while True:
            self._tokens.get()
            job = self._take()
            if job is not None:
                self._answer(job)
            elif self._closed:
                break
        self._predictor.close()

    def predict(
        self,
        sample: Given,
        *,
        timeout_s: float = STEP_TIMEOUT_S,
        urgency: Urgency = Urgency.LIVE,
    ) -> Prediction:
        """Ask the owner thread and wait for its answer.

        Raises:
            SampleRejectedError: The sample fails a quality check.
            ModelError: The model failed.
            WorkerError: The queue is full (``AGENT-WORKER-004``) or the answer did
                not come in time (``AGENT-WORKER-005``).
            ShedError: It was background work, and live requests need its place.
            OwnerClosedError: The model was swapped out.
        """
        job = _Job(sample)
        with self._gate:
            if self._closed:
                raise OwnerClosedError(SWAPPED_OUT, "model was swapped out")
            if self.stuck_s() > timeout_s:
                raise _late(timeout_s)
            self._make_room(urgency)
            self._waiting[urgency].append(job)
            self._tokens.put(None)
        if not job.done.acquire(timeout=timeout_s):
            self._give_up(job, urgency)
            raise _late(timeout_s)
        if isinstance(job.outcome, Prediction):
            return job.outcome
        raise job.outcome or _late(timeout_s)

    def check(self, sample: Given, *, timeout_s: float) -> None:
        """Have the owner thread really infer a sample that is nobody's.

        A queue that is busy with live requests is proof enough: only a model that has
        been at *one* sample for ``timeout_s`` is hung.

        Raises:
            ModelError: The model failed.
            WorkerError: It is hung (``AGENT-WORKER-013``).
        """
        try:
            self.predict(sample, timeout_s=timeout_s, urgency=Urgency.BACKGROUND)
        except OwnerClosedError:
            return
        except WorkerError as error:
            stuck_s = self.stuck_s()
            if stuck_s >= timeout_s:
                raise WorkerError(
                    HUNG, f"the model has been at one sample for {stuck_s:.1f} s"
                ) from error

    @property
    def waiting(self) -> int:
        """How many live requests wait."""
        return len(self._waiting[Urgency.LIVE])

    def stuck_s(self) -> float:
        """Return for how long the model has been at its present sample (0: idle)."""
        since = self._running_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Take no more requests; those that wait are still answered."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._tokens.put(None)

    def _answer(self, job: _Job) -> None:
        if job.given_up:
            return
        self._running_since = time.monotonic()
        outcome: Prediction | Exception
        try:
            outcome = self._predictor.predict(job.sample)
        except Exception as error:  # noqa: BLE001 - it is the asker's to handle
            outcome = error
        # Before the asker goes on: the model is free for its next sample by then.
        self._running_since = None
        job.settle(outcome)

    def _take(self) -> _Job | None:
        for waiting in self._waiting.values():
            if (job := _pop(waiting)) is not None:
                return job
        return None

    def _make_room(self, urgency: Urgency) -> None:
        """Refuse a request, or shed one, where the queue is full; the gate is held."""
        if sum(map(len, self._waiting.values())) < self._depth:
            return
        if urgency is Urgency.BACKGROUND:
            raise _shed()
        oldest = _pop(self._waiting[Urgency.BACKGROUND])
        if oldest is None:
            raise WorkerError(
                "AGENT-WORKER-004",
                f"{self._depth} requests already wait for the model",
                cure="send fewer samples, or wait for replies",
                retryable=True,
            )
        oldest.settle(_shed())

    def _give_up(self, job: _Job, urgency: Urgency) -> None:
        job.given_up = True
        with self._gate:
            # It may be with the model by now.
            if job in self._waiting[urgency]:
                self._waiting[urgency].remove(job)


def _pop(waiting: "deque[_Job]") -> _Job | None:
    # Not "if waiting": both the owner and a live request may take the last one.
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _shed() -> ShedError:
    return ShedError(SHED, "live requests need the model", retryable=True)


def _late(timeout_s: float) -> WorkerError:
    return WorkerError(
        "AGENT-WORKER-005", f"no prediction within {timeout_s:g} s", retryable=True
    )

"""The bounded queue of two classes before a model.

Live requests go first. Background work (bulk of a source, the watchdog's own inference)
waits for a gap and is shed first: a live request that finds the queue full takes the
place of the oldest background one, and is refused only where all others are live too.
Requests come from any thread, one thread takes them.
"""

import contextlib
import queue
import threading
from collections import deque
from enum import StrEnum, auto

from edge_agent.errors import WorkerError
from edge_agent.pipeline.prediction import Given, Prediction

QUEUE_DEPTH = 64
SWAPPED_OUT = "AGENT-WORKER-006"
SHED = "AGENT-WORKER-012"


class OwnerClosedError(WorkerError):
    """The model was swapped out meanwhile; ask the one that is served now."""


class ShedError(WorkerError):
    """Background work that gave way to live requests; it is not tried again."""


class Urgency(StrEnum):
    """Which of the two classes a request is of."""

    LIVE = auto()
    BACKGROUND = auto()


class Job:
    """A sample on its way, and its answer once ``done`` can be had.

    A bare lock: a future wakes its waiter through a condition, which costs 4 us more.
    """

    __slots__ = ("done", "given_up", "outcome", "sample")

    def __init__(self, sample: Given) -> None:
        """Begin without an answer."""
        self.sample = sample
        self.done = threading.Lock()
        self.done.acquire()
        self.given_up = False
        self.outcome: Prediction | Exception | None = None

    def settle(self, outcome: Prediction | Exception) -> None:
        """Answer it, once."""
        self.outcome = outcome
        self.done.release()


class Waiting:
    """Requests that wait for one model."""

    def __init__(self, depth: int) -> None:
        """Hold up to ``depth`` requests of both classes together."""
        self._depth = depth
        self._jobs: dict[Urgency, deque[Job]] = {u: deque() for u in Urgency}
        # One token a job: waking by it costs less than a condition variable. A job
        # that left the queue leaves its token behind, which wakes the taker in vain.
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closed

    @property
    def live(self) -> int:
        """How many live requests wait."""
        return len(self._jobs[Urgency.LIVE])

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return any(self._jobs.values())

    def put(self, sample: Given, urgency: Urgency) -> Job:
        """Let a request wait.

        Raises:
            OwnerClosedError: The model was swapped out (``AGENT-WORKER-006``).
            WorkerError: The queue is full (``AGENT-WORKER-004``).
            ShedError: It is, of background work or for it (``AGENT-WORKER-012``).
        """
        job = Job(sample)
        with self._gate:
            if self._closed:
                raise OwnerClosedError(SWAPPED_OUT, "model was swapped out")
            self._make_room(urgency)
            self._jobs[urgency].append(job)
        self.wake()
        return job

    def take(self) -> Job | None:
        """Return the next request, if there is one."""
        for jobs in self._jobs.values():
            if (job := _pop(jobs)) is not None:
                return job
        return None

    def give_up(self, job: Job, urgency: Urgency) -> None:
        """Remove a request that its asker does not wait for any more."""
        job.given_up = True
        with self._gate:
            # It may be with the model by now.
            if job in self._jobs[urgency]:
                self._jobs[urgency].remove(job)

    def close(self) -> None:
        """Take no more requests and wake the taker; those that wait stay."""
        with self._gate:
            self._closed = True
        self.wake()

    def wake(self) -> None:
        """Wake the taker."""
        self._tokens.put(None)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until something may have come, or for so long."""
        with contextlib.suppress(queue.Empty):
            self._tokens.get(timeout=timeout_s)

    def _make_room(self, urgency: Urgency) -> None:
        """Refuse a request, or shed one, where the queue is full; the gate is held."""
        if sum(map(len, self._jobs.values())) < self._depth:
            return
        if urgency is Urgency.BACKGROUND:
            raise _shed()
        oldest = _pop(self._jobs[Urgency.BACKGROUND])
        if oldest is None:
            raise WorkerError(
                "AGENT-WORKER-004",
                f"{self._depth} requests already wait for the model",
                cure="send fewer samples, or wait for replies",
                retryable=True,
            )
        oldest.settle(_shed())


def _pop(jobs: deque[Job]) -> Job | None:
    # Not "if jobs": both the taker and a live request may take the last one.
    try:
        return jobs.popleft()
    except IndexError:
        return None


def _shed() -> ShedError:
    return ShedError(SHED, "live requests need the model", retryable=True)

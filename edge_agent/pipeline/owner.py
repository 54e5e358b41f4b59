"""Turns at a model: in the asker's own thread, or in the owner's for all who wait.

An interpreter is not thread-safe: who calls it has the turn. A live request that finds
the model free runs it itself, provided that another thread could take its place should
the model hang (``base/relief.py``): to hand a sample over and its answer back costs
more than most models take. All others wait for the owner thread. A request that waits
longer than its deadline is given up and leaves the queue; one that finds the model
stuck for that long already is not even queued; a thread whose own turn lasts that long
is relieved. A model that was that slow is asked by the owner thread alone until it
answers in time again.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator

from edge_agent.base.relief import Relieved, StandIn, my_stand_in
from edge_agent.errors import WorkerError
from edge_agent.pipeline.prediction import Given, Prediction, Predictor
from edge_agent.pipeline.waiting import (
    QUEUE_DEPTH,
    OwnerClosedError,
    Urgency,
    Waiting,
)

STEP_TIMEOUT_S = 1.0
WATCH_S = 0.2
"""How often the owner thread looks at turns of other threads, while there are any."""
HUNG = "AGENT-WORKER-013"
THREAD_RELIEVED = "model.overdue"

log = logging.getLogger(__name__)


class _Turn:
    """A turn in the asker's own thread. Whoever ends it first answers."""

    __slots__ = ("_ended", "_overdue_at", "_stand_in")

    def __init__(self, stand_in: StandIn, overdue_at: float) -> None:
        self._stand_in = stand_in
        self._overdue_at = overdue_at
        self._ended = threading.Lock()

    def end(self) -> bool:
        """End it; false where its thread was relieved."""
        return self._ended.acquire(blocking=False)

    def relieve(self, now: float) -> bool:
        """Let another thread answer if this one takes too long; tell whether."""
        if now < self._overdue_at or not self.end():
            return False
        self._stand_in()
        return True


class Owner:
    """One model, and who may run it. Someone gives :meth:`run` a thread of its own."""

    def __init__(self, predictor: Predictor, *, depth: int = QUEUE_DEPTH) -> None:
        """Take over a model; at most ``depth`` requests wait for it."""
        self._predictor = predictor
        self._waiting = Waiting(depth)
        self._in_use = threading.Lock()
        self._running_since: float | None = None
        self._turn: _Turn | None = None
        self._was_used = False
        self._dozes = False
        self._is_slow = False

    def run(self) -> None:
        """Answer what waits until :meth:`close`, live first; then free the model."""
        while not self._waiting.closed or self._waiting:
            self._doze()
            if self._waiting:
                self._answer_next()
        with self._mine():
            self._predictor.close()

    def predict(
        self,
        sample: Given,
        *,
        timeout_s: float = STEP_TIMEOUT_S,
        urgency: Urgency = Urgency.LIVE,
    ) -> Prediction:
        """Have the model answer, in this thread or in the owner's.

        Raises:
            SampleRejectedError: The sample fails a quality check.
            ModelError: The model failed.
            WorkerError: The queue is full (``AGENT-WORKER-004``) or the answer did
                not come in time (``AGENT-WORKER-005``).
            ShedError: It was background work, and live requests need its place.
            OwnerClosedError: The model was swapped out.
            Relieved: This thread ran the model for too long, and another one answers.
        """
        stand_in = my_stand_in() if urgency is Urgency.LIVE else None
        if stand_in is not None and self._begin():
            turn = _Turn(stand_in, time.monotonic() + timeout_s)
            return self._predict_here(sample, turn)
        if self.stuck_s() > timeout_s:
            raise _late(timeout_s)
        job = self._waiting.put(sample, urgency)
        if not job.done.acquire(timeout=timeout_s):
            self._waiting.give_up(job, urgency)
            raise _late(timeout_s)
        if isinstance(job.outcome, Prediction):
            self._is_slow = False
            return job.outcome
        raise job.outcome or _late(timeout_s)

    def check(self, sample: Given, *, timeout_s: float) -> None:
        """Have the model really infer a sample that is nobody's.

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
        return self._waiting.live

    def stuck_s(self) -> float:
        """Return for how long the model has been at its present sample (0: idle)."""
        since = self._running_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Take no more requests; those that wait are still answered."""
        self._waiting.close()

    def _begin(self) -> bool:
        """Take the turn if the model is free and nobody was there before."""
        if (
            self._is_slow
            or self._waiting.live
            or not self._in_use.acquire(blocking=False)
        ):
            return False
        if self._waiting.closed:
            # It may be freed from now on.
            self._in_use.release()
            return False
        return True

    def _predict_here(self, sample: Given, turn: _Turn) -> Prediction:
        self._turn, self._was_used = turn, True
        if self._dozes:
            self._waiting.wake()
        try:
            return self._run(sample)
        finally:
            self._turn = None
            self._in_use.release()
            if not turn.end():
                raise Relieved

    def _run(self, sample: Given) -> Prediction:
        self._running_since = time.monotonic()
        try:
            return self._predictor.predict(sample)
        finally:
            self._running_since = None

    def _answer_next(self) -> None:
        outcome: Prediction | Exception | None = None
        with self._mine():
            job = self._waiting.take()
            if job is None or job.given_up:
                return
            try:
                outcome = self._run(job.sample)
            except Exception as error:  # noqa: BLE001 - it is the asker's to handle
                outcome = error
        # When the asker goes on, the model is free for its next sample.
        job.settle(outcome)

    def _doze(self) -> None:
        """Wait for a request, or for the time to look at another thread's turn."""
        # In this order: who takes a turn after it was looked for sees that I doze.
        self._dozes = True
        if self._was_used or self._turn is not None:
            self._dozes = self._was_used = False
        self._waiting.wait(None if self._dozes else WATCH_S)
        self._dozes = False
        self._relieve()

    @contextlib.contextmanager
    def _mine(self) -> Iterator[None]:
        """Have the turn on the owner thread, for as long as the block runs."""
        while not self._in_use.acquire(timeout=WATCH_S):
            self._relieve()
        try:
            yield
        finally:
            self._in_use.release()

    def _relieve(self) -> None:
        turn = self._turn
        if turn is not None and turn.relieve(time.monotonic()):
            self._is_slow = True
            log.warning(THREAD_RELIEVED, extra={"stuck_s": round(self.stuck_s(), 3)})


def _late(timeout_s: float) -> WorkerError:
    return WorkerError(
        "AGENT-WORKER-005", f"no prediction within {timeout_s:g} s", retryable=True
    )

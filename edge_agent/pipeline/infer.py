"""One owner thread per model, and the ladder that a request falls down.

An interpreter is not thread-safe: all its calls are made by one thread from a bounded
queue. A full queue refuses (the caller knows best what to do), a request that waits
longer than its deadline is given up. Ladder: active, previous, rule, explicit error.
A rejected sample does not fall: another model would not make it a good sample.
"""

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass

from edge_agent.errors import AgentError, ModelError, WorkerError
from edge_agent.pipeline.prediction import (
    Prediction,
    Predictor,
    Sample,
    ServedBy,
    rule_prediction,
)
from edge_agent.wire.manifest import InputContract
from edge_agent.wire.profile import ReferenceProfile

QUEUE_DEPTH = 64
STEP_TIMEOUT_S = 1.0
SWAPPED_OUT = "AGENT-WORKER-006"

_Job = tuple["Future[Prediction]", Sample]


class OwnerClosedError(WorkerError):
    """The model was swapped out meanwhile; ask the one that is served now."""


class Owner:
    """The only user of one model. Someone runs :meth:`run` in a thread of its own."""

    def __init__(self, predictor: Predictor, *, depth: int = QUEUE_DEPTH) -> None:
        """Take over a model; at most ``depth`` requests wait for it."""
        self._predictor = predictor
        self._depth = depth
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False

    def run(self) -> None:
        """Answer requests in order until :meth:`close`, then free the model."""
        while (job := self._jobs.get()) is not None:
            future, sample = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._predictor.predict(sample))
            except Exception as error:  # noqa: BLE001 - it is the asker's to handle
                future.set_exception(error)
        self._predictor.close()

    def predict(
        self, sample: Sample, *, timeout_s: float = STEP_TIMEOUT_S
    ) -> Prediction:
        """Ask the owner thread and wait for its answer.

        Raises:
            SampleRejectedError: The sample fails a quality check.
            ModelError: The model failed.
            WorkerError: The queue is full (``AGENT-WORKER-004``) or the answer did
                not come in time (``AGENT-WORKER-005``).
            OwnerClosedError: The model was swapped out.
        """
        future: Future[Prediction] = Future()
        with self._gate:
            if self._closed:
                raise OwnerClosedError(SWAPPED_OUT, "model was swapped out")
            if self._jobs.qsize() >= self._depth:
                raise WorkerError(
                    "AGENT-WORKER-004",
                    f"{self._depth} requests already wait for the model",
                    cure="send fewer samples, or wait for replies",
                    retryable=True,
                )
            self._jobs.put((future, sample))
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            future.cancel()
            raise WorkerError(
                "AGENT-WORKER-005",
                f"no prediction within {timeout_s:g} s",
                retryable=True,
            ) from error

    def close(self) -> None:
        """Take no more requests; those that wait are still answered."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A release in memory: its owner and what the rest of the path needs of it."""

    owner: Owner
    release: int
    sha256: str
    labels: tuple[str, ...]
    contract: InputContract
    reference: ReferenceProfile
    reference_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A prediction, the step that made it, and why steps above it did not."""

    prediction: Prediction
    served_by: ServedBy
    failures: tuple[AgentError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What is served now. Immutable: a hot swap binds a new one in its place."""

    active: Loaded | None = None
    previous: Loaded | None = None
    fallback: str = ""

    def predict(
        self, sample: Sample, *, step_timeout_s: float = STEP_TIMEOUT_S
    ) -> Answer:
        """Return the answer of the first step that has one.

        Raises:
            SampleRejectedError: The sample fails a quality check.
            OwnerClosedError: The active model was swapped out meanwhile.
            ModelError: No step can answer (``AGENT-MODEL-006``).
        """
        failures: list[AgentError] = []
        steps = (
            (ServedBy.ACTIVE, self.active),
            (ServedBy.PREVIOUS, self.previous),
        )
        for step, loaded in steps:
            if loaded is None:
                continue
            try:
                made = loaded.owner.predict(sample, timeout_s=step_timeout_s)
            except (ModelError, WorkerError) as error:
                if step is ServedBy.ACTIVE and isinstance(error, OwnerClosedError):
                    raise
                failures.append(error)
            else:
                return Answer(prediction=made, served_by=step, failures=tuple(failures))
        if self.fallback:
            return Answer(
                prediction=rule_prediction(self.fallback),
                served_by=ServedBy.RULE,
                failures=tuple(failures),
            )
        why = failures[0].text if failures else "no release is loaded"
        raise ModelError(
            "AGENT-MODEL-006",
            f"no model can answer: {why}",
            cure="roll out a release to this device, or set `fallback` in agent.toml",
            retryable=True,
        )

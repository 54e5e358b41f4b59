"""The ladder that a request falls down, and what each step of it holds.

Ladder: active, previous, rule, explicit error. A rejected sample does not fall: another
model would not make it a good sample. Background work does not fall either: it is shed,
and no other model takes it up.
"""

from dataclasses import dataclass

from edge_agent.errors import AgentError, ModelError, WorkerError
from edge_agent.pipeline.owner import STEP_TIMEOUT_S, Owner
from edge_agent.pipeline.prediction import (
    FROM_TOP,
    Given,
    Prediction,
    ServedBy,
    rule_prediction,
)
from edge_agent.pipeline.waiting import (
    SWAPPED_OUT,
    OwnerClosedError,
    ShedError,
    Urgency,
)
from edge_agent.wire.manifest import InputContract, TensorContract
from edge_agent.wire.profile import ReferenceProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A release in memory: its owner and what the rest of the path needs of it."""

    owner: Owner
    name: str
    release: int
    sha256: str
    labels: tuple[str, ...]
    contract: InputContract
    outputs: tuple[TensorContract, ...]
    reference: ReferenceProfile
    reference_sha256: str
    is_factory: bool = False
    stateful: bool = False
    """Whether an answer depends on the samples before."""
    extra_inputs: tuple[InputContract, ...] = ()

    @property
    def inputs(self) -> tuple[InputContract, ...]:
        """All inputs, in order."""
        return (self.contract, *self.extra_inputs)


class NoAnswerError(ModelError):
    """No step of the ladder can answer.

    Attributes:
        failures: Why not, from the top.
    """

    failures: tuple[AgentError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A prediction, the step that made it, and why steps above it did not."""

    prediction: Prediction
    served_by: ServedBy
    failures: tuple[AgentError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What is served now. Immutable: a hot swap binds a new one in its place.

    ``active`` is the factory model where there is no release.
    """

    active: Loaded | None = None
    previous: Loaded | None = None
    fallback: str = ""

    def only(self, release: int) -> "Ladder":
        """Return the one step that is a release, without any to fall to.

        Raises:
            WorkerError: It is not loaded (any more).
        """
        if self.active is not None and self.active.release == release:
            return Ladder(active=self.active)
        if self.previous is not None and self.previous.release == release:
            return Ladder(previous=self.previous)
        raise WorkerError(
            SWAPPED_OUT, f"release {release} is not loaded any more", retryable=True
        )

    def predict(
        self,
        sample: Given,
        *,
        step_timeout_s: float = STEP_TIMEOUT_S,
        urgency: Urgency = Urgency.LIVE,
    ) -> Answer:
        """Return the answer of the first step that has one.

        Raises:
            SampleRejectedError: The sample fails a quality check.
            OwnerClosedError: The active model was swapped out meanwhile.
            ShedError: It is background work that gave way to live requests.
            NoAnswerError: No step can answer (``AGENT-MODEL-006``).
        """
        failures: list[AgentError] = []
        factory = self.active is not None and self.active.is_factory
        steps = (
            (ServedBy.FACTORY if factory else ServedBy.ACTIVE, self.active),
            (ServedBy.PREVIOUS, self.previous),
        )
        for step, loaded in steps:
            if loaded is None:
                continue
            try:
                made = loaded.owner.predict(
                    sample, timeout_s=step_timeout_s, urgency=urgency
                )
            except ShedError:
                raise
            except (ModelError, WorkerError) as error:
                if step in FROM_TOP and isinstance(error, OwnerClosedError):
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
        refusal = NoAnswerError(
            "AGENT-MODEL-006",
            f"no model can answer: {why}",
            cure="roll out a release to this device, or set `fallback` in agent.toml",
            retryable=True,
        )
        refusal.failures = tuple(failures)
        raise refusal

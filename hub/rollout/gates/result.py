"""What a gate reads, and what it says. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum

from hub.rollout.device_facts import DeviceFacts, Outcome
from hub.rollout.label_pairs import DeviceLoss
from hub.rollout.plan import Plan


class Decision(StrEnum):
    """What a gate says."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    ABORT = "ABORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFacts:
    """A stage and those before it, as a gate sees them.

    ``devices`` holds the whole rollout: those not assigned yet are the control group
    for silence. ``outcomes`` are of the assigned devices. ``labels`` counts labels that
    compare both releases, ``labelled`` tells whether the incumbent has any here.
    ``overdue`` tells that the stage's deadline, ``deadline_at``, is over, ``soaking``
    that all stages are and only failures can still end it.
    """

    rollout: str
    stage: int
    candidate: int
    plan: Plan
    devices: list[DeviceFacts]
    outcomes: dict[str, Outcome]
    losses: list[DeviceLoss] = field(default_factory=list)
    labels: int = 0
    labelled: bool = False
    overdue: bool = False
    soaking: bool = False
    deadline_at: float = 0.0

    @property
    def staged(self) -> list[DeviceFacts]:
        """The devices that got the release."""
        return [device for device in self.devices if device.assigned_seq > 0]

    @property
    def judged(self) -> list[DeviceFacts]:
        """The devices that got the release and are of no class that is left out."""
        return [d for d in self.staged if d.hardware not in self.plan.left_out]

    def with_outcome(self, *outcomes: Outcome) -> list[DeviceFacts]:
        """Return the assigned devices of which one of these became."""
        return [d for d in self.staged if self.outcomes[d.device] in outcomes]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """A gate's decision with what it observed, the limit for that, and words."""

    name: str
    decision: Decision
    observed: float = 0.0
    limit: float = 0.0
    text: str = ""


_WORST_FIRST = (Decision.ABORT, Decision.HOLD, Decision.PROMOTE)


def fold(results: list[GateResult]) -> tuple[Decision, str]:
    """Return the worst decision, and the words of the gates that made it."""
    decision = next(d for d in _WORST_FIRST if any(r.decision is d for r in results))
    texts = [r.text for r in results if r.decision is decision and r.text]
    return decision, "; ".join(texts)

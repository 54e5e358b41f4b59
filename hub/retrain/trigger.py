"""Decides when a model is retrained. Pure; called by ``hub/retrain/service.py``.

Drift alone does not retrain: inputs move for harmless reasons. It takes drift *and*
loss, measured by labels or estimated from falling confidence. One retrain job at a
time, and a rest after each, whatever became of it.
"""

from dataclasses import dataclass
from enum import StrEnum

CONFIDENCE_DROP = 0.05
"""Fall of mean confidence that counts as estimated loss."""


class Move(StrEnum):
    """What to do now."""

    NOTHING = "nothing"
    COLLECT = "collect"
    START = "start"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFacts:
    """What alerts say of one release in one cohort."""

    drift_firing: bool
    accuracy_firing: bool
    confidence_change: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From the configuration."""

    enabled: bool
    min_samples: int
    cooldown_s: float
    timeout_s: float


def has_loss(facts: AlertFacts) -> bool:
    """Tell whether the model is held to do worse, not only to see other things."""
    change = facts.confidence_change
    estimated = change is not None and change <= -CONFIDENCE_DROP
    return facts.accuracy_firing or estimated


def decide_begin(
    facts: AlertFacts, limits: Limits, *, has_open_job: bool, rested_s: float | None
) -> Move:
    """Decide whether an alert begins a retrain job.

    ``rested_s`` is the time since the last retrain job ended (``None``: there was
    none).
    """
    if not limits.enabled or has_open_job:
        return Move.NOTHING
    if rested_s is not None and rested_s < limits.cooldown_s:
        return Move.NOTHING
    if facts.drift_firing and has_loss(facts):
        return Move.COLLECT
    return Move.NOTHING


def decide_collecting(samples: int, waited_s: float, limits: Limits) -> Move:
    """Decide whether a job that collects has enough, waits on, or has waited enough."""
    if samples >= limits.min_samples:
        return Move.START
    return Move.GIVE_UP if waited_s > limits.timeout_s else Move.NOTHING

"""Whether a release that was just activated may stay: a pure decision.

The device compares the release with its own figures before the swap, so nobody is
blamed for what was so already: bad light, a worn sensor, a slow machine. Predicted
classes are compared with the release's reference profile, but only held against it
where the release before was clearly nearer to it. Without a release before, only the
absolute limits count.
"""

from dataclasses import dataclass
from enum import StrEnum, auto

from edge_agent.sketch.variation import total_variation
from edge_agent.store.slots import Figures
from edge_agent.wire.control import ProbationPolicy

ERRORS = "AGENT-UPDATE-050"
LATENCY = "AGENT-UPDATE-051"
CLASS_SHIFT = "AGENT-UPDATE-052"
CONFIDENCE = "AGENT-UPDATE-053"
MISFITS = "AGENT-UPDATE-054"

CLEARLY = 0.1
"""How much further from the reference than the release before is clearly worse."""
MIN_BASELINE = 20
"""Fewer predictions than this are no baseline."""


class Verdict(StrEnum):
    """What to do with the release."""

    WAIT = auto()
    PASS = auto()
    BREACH = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict, and for a breach the code and the numbers behind it."""

    verdict: Verdict
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known so far. ``reference`` holds the class counts of the release's
    reference profile, ``elapsed_s`` the time since it was loaded.
    """  # noqa: D205 - the summary is one sentence

    now: Figures
    before: Figures | None
    reference: tuple[int, ...]
    elapsed_s: float


def decide(evidence: Evidence, policy: ProbationPolicy) -> Judgement:
    """Judge a release on probation.

    A breach counts only on ``policy.min_predictions`` predictions, so that a single
    odd sample decides nothing. At the deadline a release that answers and breached
    nothing passes however little traffic there was: a quiet device is not a sick one,
    and the hub has its own gates.
    """
    now = evidence.now
    tried = now.predictions + now.errors
    late = evidence.elapsed_s >= policy.deadline_s
    misfit = _misfit(evidence, policy)
    if misfit is not None:
        return misfit
    if tried < policy.min_predictions and not late:
        return Judgement(verdict=Verdict.WAIT)
    if tried >= policy.min_predictions:
        breach = _breach(evidence, policy)
        if breach is not None:
            return breach
    if evidence.elapsed_s < policy.min_s and not late:
        return Judgement(verdict=Verdict.WAIT)
    return Judgement(verdict=Verdict.PASS, detail=f"{now.predictions} predictions")


def _misfit(evidence: Evidence, policy: ProbationPolicy) -> Judgement | None:
    """Find a release that takes other samples than this device has.

    Where most samples did not fit the release before either, it is the sender's fault.
    """
    now, before = evidence.now, evidence.before
    tried = now.predictions + now.errors
    if now.misfits < max(policy.min_predictions, 1) or now.misfits <= tried:
        return None
    if before is not None and before.misfits > before.predictions + before.errors:
        return None
    return _found(
        MISFITS,
        f"{now.misfits} of {now.misfits + tried} samples have another shape or number"
        " format than the release takes",
    )


def _breach(evidence: Evidence, policy: ProbationPolicy) -> Judgement | None:
    now, before = evidence.now, evidence.before
    errors = _error_ratio(now)
    allowed = policy.error_ratio_max
    if before is not None and before.predictions >= MIN_BASELINE:
        allowed += _error_ratio(before)
    if errors > allowed:
        return _found(ERRORS, f"{errors:.1%} of predictions fail, limit {allowed:.1%}")
    shift = _class_shift(evidence, policy)
    if shift is not None:
        return shift
    if before is None or before.predictions < MIN_BASELINE:
        return None
    return _against_baseline(now, before, policy)


def _against_baseline(
    now: Figures, before: Figures, policy: ProbationPolicy
) -> Judgement | None:
    if before.latency_us > 0:
        ratio = now.latency_us / before.latency_us
        if ratio > policy.latency_ratio_max:
            return _found(
                LATENCY,
                f"median latency {now.latency_us:.0f} us is {ratio:.1f} times that of"
                f" release {before.release}, limit {policy.latency_ratio_max:g}",
            )
    if not now.class_counts or not before.class_counts:
        return None
    drop = before.confidence - now.confidence
    if drop > policy.confidence_drop_max:
        return _found(
            CONFIDENCE,
            f"mean confidence fell from {before.confidence:.2f} (release"
            f" {before.release}) to {now.confidence:.2f}, limit"
            f" {policy.confidence_drop_max:g}",
        )
    return None


def _class_shift(evidence: Evidence, policy: ProbationPolicy) -> Judgement | None:
    reference = evidence.reference
    if len(reference) != len(evidence.now.class_counts):
        return None
    shift = total_variation(evidence.now.class_counts, reference)
    if shift <= policy.class_shift_max:
        return None
    before = evidence.before
    if before is None or len(before.class_counts) != len(reference):
        return None
    if before.predictions < MIN_BASELINE:
        return None
    usual = total_variation(before.class_counts, reference)
    if shift <= usual + CLEARLY:
        return None
    return _found(
        CLASS_SHIFT,
        f"predicted classes are {shift:.2f} from the reference (release"
        f" {before.release}: {usual:.2f}), limit {policy.class_shift_max:g}",
    )


def _error_ratio(figures: Figures) -> float:
    tried = figures.predictions + figures.errors
    return figures.errors / tried if tried else 0.0


def _found(code: str, detail: str) -> Judgement:
    return Judgement(verdict=Verdict.BREACH, code=code, detail=detail)

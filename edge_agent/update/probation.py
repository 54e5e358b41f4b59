"""Whether a release that was just activated may stay: a pure decision.

Only what the swap can cause sends it back: that it crashes or hangs (the worker's
watcher tells), that the device's samples do not fit it, and that it fails on samples
which the release before answers. On what neither of the two answers nothing is decided:
bad light and worn sensors are nobody's fault. Which classes it predicts, and how
surely, depends on what the device happens to see; that is remarked on and decides
nothing (the paired test asks both releases about the same samples), and times of
different moments are not compared at all.

At the deadline a release that failed in nothing stays, however little it was asked; how
little is part of the judgement, and no success.
"""

from dataclasses import dataclass
from enum import StrEnum, auto

from edge_agent.sketch.variation import total_variation
from edge_agent.store.slots import Figures
from edge_agent.wire.control import ProbationPolicy

ERRORS = "AGENT-UPDATE-050"
CLASS_SHIFT = "AGENT-UPDATE-052"
CONFIDENCE = "AGENT-UPDATE-053"
MISFITS = "AGENT-UPDATE-054"

ERRORS_ALLOWED = 5
"""So many failures decide nothing, however few predictions there were."""
CLEARLY = 0.1
"""How much further from the reference than the release before is worth a remark."""
MIN_BASELINE = 20
"""Fewer predictions than this are no baseline."""


class Verdict(StrEnum):
    """What to do with the release."""

    WAIT = auto()
    PASS = auto()
    BREACH = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict; for a breach its code and the numbers behind it.

    ``remarks`` are worth knowing and decide nothing, each with its code.
    """

    verdict: Verdict
    code: str = ""
    detail: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known so far.

    ``now`` are the figures since the release was loaded, ``elapsed_s`` ago, ``before``
    those of the release before until the swap. ``reference`` holds the class counts of
    the release's reference profile. ``has_incumbent``: a release of the same model is
    loaded behind it, which answers where it fails.
    """

    now: Figures
    before: Figures | None
    reference: tuple[int, ...]
    elapsed_s: float
    has_incumbent: bool = True


def decide(evidence: Evidence, policy: ProbationPolicy) -> Judgement:
    """Judge a release on probation."""
    now = evidence.now
    breach = _misfit(evidence, policy) or _errors(evidence, policy)
    if breach is not None:
        return breach
    if evidence.elapsed_s < policy.deadline_s and (
        now.predictions < policy.min_predictions or evidence.elapsed_s < policy.min_s
    ):
        return Judgement(verdict=Verdict.WAIT)
    return Judgement(
        verdict=Verdict.PASS,
        detail=f"{now.predictions} of {policy.min_predictions} predictions",
        remarks=_remarks(evidence, policy),
    )


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


def _errors(evidence: Evidence, policy: ProbationPolicy) -> Judgement | None:
    """Find a release that fails where the one before does not.

    Without one before every failure counts: there is nobody to ask.
    """
    now, before = evidence.now, evidence.before
    tried = now.predictions + now.errors
    failures = now.fallbacks if evidence.has_incumbent else now.errors
    usual = 0.0
    if before is not None and before.predictions >= MIN_BASELINE:
        usual = before.errors / (before.predictions + before.errors)
    allowed = max(ERRORS_ALLOWED, policy.error_ratio_max * tried) + usual * tried
    if failures <= allowed:
        return None
    whose = " that the release before answers" if evidence.has_incumbent else ""
    return _found(
        ERRORS,
        f"fails on {failures} of {tried} samples{whose}, limit {allowed:.1f}",
    )


def _remarks(evidence: Evidence, policy: ProbationPolicy) -> tuple[str, ...]:
    before = evidence.before
    if before is None or before.predictions < MIN_BASELINE:
        return ()
    found = (
        _class_shift(evidence, before, policy),
        _confidence(evidence.now, before, policy),
    )
    return tuple(remark for remark in found if remark)


def _confidence(now: Figures, before: Figures, policy: ProbationPolicy) -> str:
    if not now.class_counts or not before.class_counts or not now.predictions:
        return ""
    if before.confidence - now.confidence <= policy.confidence_drop_max:
        return ""
    return (
        f"{CONFIDENCE}: mean confidence {before.confidence:.2f} (release"
        f" {before.release}), now {now.confidence:.2f}"
    )


def _class_shift(evidence: Evidence, before: Figures, policy: ProbationPolicy) -> str:
    reference, now = evidence.reference, evidence.now
    if not len(reference) == len(now.class_counts) == len(before.class_counts):
        return ""
    shift = total_variation(now.class_counts, reference)
    usual = total_variation(before.class_counts, reference)
    if shift <= max(policy.class_shift_max, usual + CLEARLY):
        return ""
    return (
        f"{CLASS_SHIFT}: predicted classes are {shift:.2f} from the reference (release"
        f" {before.release}: {usual:.2f})"
    )


def _found(code: str, detail: str) -> Judgement:
    return Judgement(verdict=Verdict.BREACH, code=code, detail=detail)

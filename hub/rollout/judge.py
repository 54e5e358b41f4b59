"""The gate of a stage: PROMOTE, HOLD or ABORT from what its devices report. Pure.

The unit of evidence is the device. Only what a device reports as loaded counts, never
that it was told to load it. No data is HOLD: silence never promotes. Labelled accuracy
is compared with the incumbent's on the *same devices and the same true labels*, so
that a device that happens to see other movements now is no evidence against a release.
Called by :mod:`hub.rollout.machine`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.wire.records import ShadowSummary
from hub.rollout.pairs import Agreement, score_pairs
from hub.rollout.plan import Plan

_Z = 1.645
"""One-sided 95 %."""
_DESIGN_EFFECT = 5.0
"""Overlapping windows of one stream are no independent samples: at a hop of a fifth
of the window, about five of them hold the evidence of one."""
_MIN_CELL = 3
"""Fewer incumbent labels than this say nothing about a device and label."""
_FAILED = frozenset({"failed", "rolled_back", "rejected"})


class Outcome(StrEnum):
    """What became of a release on one device."""

    PENDING = ""
    OK = "ok"
    FAIL = "fail"
    SILENT = "silent"
    UNREACHED = "unreached"


class Decision(StrEnum):
    """What the gate says."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    ABORT = "ABORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCell:
    """Labelled predictions of one device for one true label, by both releases."""

    device: str
    label: str
    candidate_n: int
    candidate_correct: int
    incumbent_n: int
    incumbent_correct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What is known about one device of a rollout.

    ``release``, ``phase`` and ``reported_seq`` are the reported twin; ``outcome``,
    ``code`` and ``detail`` are of its newest update record for the assignment
    ``assigned_seq`` (0: not assigned yet), ``shadow`` of the one that has it.
    ``boxed``: it takes up nothing new for now, because too much failed there lately or
    a person there pinned it.
    """

    device: str
    stage: int
    online: bool
    assigned_seq: int = 0
    release: int = 0
    phase: str = ""
    reported_seq: int = 0
    quarantined: bool = False
    boxed: bool = False
    heard: bool = False
    outcome: str = ""
    code: str = ""
    detail: str = ""
    shadow: ShadowSummary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Accuracy of candidate and incumbent over the same devices and labels."""

    n: int = 0
    candidate: float = 0.0
    incumbent: float = 0.0
    error: float = 0.0

    @property
    def drop(self) -> float:
        """How much worse the candidate is, as a difference of ratios."""
        return self.incumbent - self.candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The gate's decision, its reasons, and the figures behind them."""

    decision: Decision
    reason: str
    counts: dict[str, int]
    comparison: Comparison
    agreement: Agreement = Agreement()


def outcome_of(facts: DeviceFacts, candidate: int) -> Outcome:
    """Decide what became of the candidate on one device."""
    if facts.assigned_seq == 0:
        return Outcome.PENDING
    runs_it = facts.release == candidate
    if facts.outcome in _FAILED or (facts.quarantined and not runs_it):
        return Outcome.FAIL
    settled = facts.phase == "IDLE" and facts.reported_seq >= facts.assigned_seq
    if runs_it and (facts.outcome == "committed" or settled):
        return Outcome.OK
    reached = facts.heard or facts.reported_seq >= facts.assigned_seq
    if facts.boxed and not reached:
        return Outcome.UNREACHED
    if facts.online:
        return Outcome.PENDING
    return Outcome.SILENT if reached else Outcome.UNREACHED


def compare(cells: list[LabelCell]) -> Comparison:
    """Compare labelled accuracy, weighting the incumbent as the candidate's labels.

    Standard error: binomial in each cell, inflated by the design effect.
    """
    used = [c for c in cells if c.candidate_n >= 1 and c.incumbent_n >= _MIN_CELL]
    n = sum(cell.candidate_n for cell in used)
    if n == 0:
        return Comparison()
    candidate = sum(cell.candidate_correct for cell in used) / n
    incumbent = 0.0
    variance = candidate * (1 - candidate) / n
    for cell in used:
        weight = cell.candidate_n / n
        # Laplace's rule keeps a cell of few labels from claiming certainty.
        ratio = (cell.incumbent_correct + 1) / (cell.incumbent_n + 2)
        incumbent += weight * cell.incumbent_correct / cell.incumbent_n
        variance += weight**2 * ratio * (1 - ratio) / cell.incumbent_n
    return Comparison(
        n=n,
        candidate=candidate,
        incumbent=incumbent,
        error=math.sqrt(_DESIGN_EFFECT * variance),
    )


def judge(
    devices: list[DeviceFacts],
    cells: list[LabelCell],
    plan: Plan,
    *,
    candidate: int,
    overdue: bool,
) -> Verdict:
    """Judge a stage by its devices and those of the stages before it.

    ``devices`` holds the whole rollout: those not assigned yet are the control group
    for silence. ``overdue`` tells that the stage's deadline is over.
    """
    staged = [facts for facts in devices if facts.assigned_seq > 0]
    outcomes = {facts.device: outcome_of(facts, candidate) for facts in staged}
    counts = {
        str(outcome or "pending"): sum(1 for o in outcomes.values() if o is outcome)
        for outcome in Outcome
    }
    comparison = compare(cells)
    agreement = score_pairs(facts.shadow for facts in staged if facts.shadow)

    def verdict(decision: Decision, reason: str) -> Verdict:
        return Verdict(
            decision=decision,
            reason=reason,
            counts=counts,
            comparison=comparison,
            agreement=agreement,
        )

    # Past the deadline, silence is a failure beyond the control group's own, and
    # nothing at all within it; before the deadline it is waited for.
    worse = _is_silence_worse(devices, outcomes)
    failures = counts["fail"] + (counts["silent"] if overdue and worse else 0)
    waiting = counts["pending"] + (counts["silent"] if not overdue or worse else 0)
    if failures > plan.max_failures:
        worst = [f for f in staged if outcomes[f.device] is Outcome.FAIL]
        names = ", ".join(f"{f.device} {f.code}".strip() for f in worst[:5])
        return verdict(
            Decision.ABORT,
            f"{failures} of {len(staged)} devices failed, "
            f"{plan.max_failures} allowed: {names or 'silent after activation'}",
        )
    if loss := _sure_loss(agreement, comparison, plan):
        return verdict(Decision.ABORT, loss)
    decision, reason = _promotion(counts, waiting, cells, comparison, plan)
    if decision is Decision.PROMOTE and agreement.devices:
        if agreement.exceeds(plan.shadow_disagreement_max):
            return verdict(Decision.HOLD, f"not sure yet: {agreement.text}")
        reason += f"; {agreement.text}"
    held = sum(f.assigned_seq == 0 and (f.quarantined or f.boxed) for f in devices)
    reason += f"; {held} held back by quarantine, penalty box or pin" if held else ""
    return verdict(decision, reason)


def _sure_loss(agreement: Agreement, comparison: Comparison, plan: Plan) -> str:
    """Say what is surely worse than the plan allows, or ""."""
    if agreement.surely_exceeds(plan.shadow_disagreement_max):
        return agreement.text
    if comparison.n >= plan.min_labels > 0:
        certain = comparison.drop - _Z * comparison.error
        if certain > plan.accuracy_drop_max:
            return _accuracy_text(comparison)
    return ""


def _promotion(
    counts: dict[str, int],
    waiting: int,
    cells: list[LabelCell],
    comparison: Comparison,
    plan: Plan,
) -> tuple[Decision, str]:
    """Decide between PROMOTE and HOLD where nothing speaks for ABORT."""
    if counts["ok"] == 0:
        return Decision.HOLD, "no device has reported success yet"
    if waiting:
        silent = f", {counts['silent']} of them silent" if counts["silent"] else ""
        return Decision.HOLD, f"waiting for {waiting} devices{silent}"
    labelled = any(cell.incumbent_n for cell in cells)
    if labelled and comparison.n < plan.min_labels:
        return (
            Decision.HOLD,
            f"{comparison.n} of {plan.min_labels} comparable labels",
        )
    if comparison.n and comparison.drop > plan.accuracy_drop_max:
        return Decision.HOLD, f"not sure yet: {_accuracy_text(comparison)}"
    text = f"{counts['ok']} devices ok, {counts['unreached']} unreached"
    if comparison.n:
        text += f"; {_accuracy_text(comparison)}"
    return Decision.PROMOTE, text


def _is_silence_worse(devices: list[DeviceFacts], outcomes: dict[str, Outcome]) -> bool:
    """Tell whether the stage is more silent than the devices outside it."""
    silent = sum(1 for outcome in outcomes.values() if outcome is Outcome.SILENT)
    control = [facts for facts in devices if facts.assigned_seq == 0]
    offline = sum(1 for facts in control if not facts.online)
    if not silent:
        return False
    return not control or silent / len(outcomes) > offline / len(control)


def _accuracy_text(comparison: Comparison) -> str:
    return (
        f"accuracy {comparison.candidate:.2f} against the incumbent's "
        f"{comparison.incumbent:.2f} on the same devices ({comparison.n} labels)"
    )

"""The gate of a stage: PROMOTE, HOLD or ABORT from what its devices report. Pure.

The unit of evidence is the device. Only what a device reports as loaded counts, never
that it was told to load it, and a device that could not test the release is no success.
No data is HOLD: silence never promotes. Each question has a gate of its own
(:mod:`hub.rollout.gates`); the worst answer decides. Called by
:mod:`hub.rollout.machine`.
"""

from dataclasses import dataclass, field

from hub.rollout.device_facts import DeviceFacts, Outcome, outcome_of
from hub.rollout.gates.evidence import judge_evidence
from hub.rollout.gates.failures import judge_failures, left_out_text
from hub.rollout.gates.labels import judge_labels
from hub.rollout.gates.result import Decision, GateResult, StageFacts, fold
from hub.rollout.gates.shadow import judge_shadow
from hub.rollout.label_pairs import LossBounds, bound_loss
from hub.rollout.pairs import Agreement, score_pairs
from hub.rollout.plan import Plan

_GATES = (judge_failures, judge_evidence, judge_labels, judge_shadow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision, its reasons, and the figures behind them."""

    decision: Decision
    reason: str
    counts: dict[str, int]
    gates: list[GateResult] = field(default_factory=list)
    agreement: Agreement = Agreement()
    labels: LossBounds | None = None


def outcomes_of(
    devices: list[DeviceFacts], candidate: int, plan: Plan
) -> dict[str, Outcome]:
    """Return what became of the candidate on each device that got it."""
    return {
        device.device: Outcome.LEFT_OUT
        if device.hardware in plan.left_out
        else outcome_of(device, candidate)
        for device in devices
        if device.assigned_seq > 0
    }


def judge(facts: StageFacts) -> Verdict:
    """Judge a stage by its devices and those of the stages before it."""
    if not facts.devices:
        reason = "no device is known yet"
        return Verdict(decision=Decision.HOLD, reason=reason, counts={})
    results = [gate(facts) for gate in _GATES]
    decision, reason = fold(results)
    held = sum(
        device.assigned_seq == 0 and (device.quarantined or device.boxed)
        for device in facts.devices
    )
    notes = [
        reason,
        left_out_text(facts.plan.left_out),
        f"{held} held back by quarantine, penalty box or pin" if held else "",
    ]
    return Verdict(
        decision=decision,
        reason="; ".join(filter(None, notes)),
        counts={
            str(outcome or "pending"): len(facts.with_outcome(outcome))
            for outcome in Outcome
        },
        gates=results,
        agreement=score_pairs(d.shadow for d in facts.judged if d.shadow),
        labels=bound_loss(facts.losses, facts.plan.accuracy_drop_max),
    )

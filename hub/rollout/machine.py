"""The rollout engine: ``step(facts, now)`` decides what happens next. Pure.

One call makes at most one transition and names the assignments that are due. It is
idempotent: with its effects applied and no news, the next call decides nothing.
Recovery after a crash is simply the next call. Called by :mod:`hub.rollout.service`.
"""

from dataclasses import dataclass, field

from hub.rollout.judge import (
    Comparison,
    Decision,
    DeviceFacts,
    LabelCell,
    Outcome,
    Verdict,
    judge,
    outcome_of,
)
from hub.rollout.plan import Plan
from hub.rollout.states import BACKWARD, CLOSED, STAGED, TRANSITIONS, Event, State


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutFacts:
    """Everything that a decision may depend on.

    ``given`` maps the devices that got the candidate from this rollout to the release
    that their newest assignment names.
    """

    rollout: str
    state: State
    stage: int
    stage_started_at: float
    candidate: int
    incumbent: int
    signed: bool
    plan: Plan
    devices: list[DeviceFacts]
    cells: list[LabelCell]
    given: dict[str, int]
    abort_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do: at most one transition, and assignments.

    ``assign`` get the candidate, ``withdraw`` get the incumbent back, or nothing
    where there is none. ``outcomes`` is each assigned device's outcome now.
    """

    event: Event | None = None
    state: State
    stage: int
    reason: str = ""
    assign: list[str] = field(default_factory=list)
    withdraw: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    verdict: Verdict | None = None


def step(facts: RolloutFacts, now: float) -> Step:
    """Decide what a rollout does now."""
    if facts.state in CLOSED:
        return Step(state=facts.state, stage=facts.stage)
    if facts.state in BACKWARD:
        return _step_back(facts)
    if facts.abort_reason:
        return _move(facts, Event.ABORTED, facts.abort_reason)
    if facts.state in STAGED:
        return _step_stage(facts, now)
    if facts.state is State.SOAK:
        return _step_soak(facts, now)
    return _step_start(facts)


def _step_start(facts: RolloutFacts) -> Step:
    if facts.state is State.DRAFT:
        text = f"release {facts.candidate} passed its intake checks"
        return _move(facts, Event.VALIDATED, text)
    if facts.state is State.VALIDATED:
        if not facts.signed:
            text = f"waits for its signature: hub releases publish {facts.candidate}"
            return Step(state=facts.state, stage=facts.stage, reason=text)
        return _move(facts, Event.SIGNED, f"release {facts.candidate} is signed")
    text = f"{sum(1 for d in facts.devices if d.stage == 0)} devices in the canary"
    return _move(facts, Event.STARTED, text)


def _step_stage(facts: RolloutFacts, now: float) -> Step:
    due = _due(facts)
    if due:
        return _stay(facts, assign=due)
    overdue = now >= facts.stage_started_at + facts.plan.stage_deadline_s
    verdict = _judge(facts, overdue=overdue)
    if verdict.decision is Decision.ABORT:
        return _move(facts, Event.ABORTED, verdict.reason, verdict=verdict)
    if verdict.decision is Decision.PROMOTE:
        if facts.stage >= facts.plan.last_stage:
            return _move(facts, Event.FINISHED, verdict.reason, verdict=verdict)
        return _move(facts, Event.PROMOTED, verdict.reason, verdict=verdict)
    if overdue and facts.state is not State.HOLD:
        text = f"stage {facts.stage} is past its deadline: {verdict.reason}"
        return _move(facts, Event.OVERDUE, text, verdict=verdict)
    return _stay(facts, verdict=verdict)


def _step_soak(facts: RolloutFacts, now: float) -> Step:
    due = _due(facts)
    if due:
        return _stay(facts, assign=due)
    verdict = _judge(facts, overdue=False)
    if verdict.decision is Decision.ABORT:
        return _move(facts, Event.ABORTED, verdict.reason, verdict=verdict)
    if now >= facts.stage_started_at + facts.plan.soak_s:
        return _move(facts, Event.SOAKED, verdict.reason, verdict=verdict)
    return _stay(facts, verdict=verdict)


def _step_back(facts: RolloutFacts) -> Step:
    due = sorted(d for d, release in facts.given.items() if release == facts.candidate)
    if facts.state is State.ABORTING:
        target = f"release {facts.incumbent}" if facts.incumbent else "no release"
        text = f"{len(facts.given)} devices go back to {target}"
        return _move(facts, Event.ORDERED_BACK, text, withdraw=due)
    if due:
        return _stay(facts, withdraw=due)
    away = [
        device.device
        for device in facts.devices
        if device.device in facts.given
        and device.online
        and facts.incumbent
        and device.release != facts.incumbent
    ]
    if away:
        return _stay(facts)
    offline = sum(1 for d in facts.devices if d.device in facts.given and not d.online)
    text = f"{len(facts.given) - offline} devices are back, {offline} unreached"
    if not facts.incumbent:
        text = "there is no incumbent to go back to; the assignments are withdrawn"
    return _move(facts, Event.BACK, text)


def _due(facts: RolloutFacts) -> list[str]:
    return [
        device.device
        for device in facts.devices
        if device.assigned_seq == 0
        and device.stage <= facts.stage
        and (facts.plan.forced or not (device.quarantined or device.boxed))
    ]


def _judge(facts: RolloutFacts, *, overdue: bool) -> Verdict:
    if not facts.devices:
        return Verdict(
            decision=Decision.HOLD,
            reason="no device is known yet",
            counts={},
            comparison=Comparison(),
        )
    return judge(
        facts.devices,
        facts.cells,
        facts.plan,
        candidate=facts.candidate,
        overdue=overdue,
    )


def _outcomes(facts: RolloutFacts) -> dict[str, Outcome]:
    return {
        device.device: outcome_of(device, facts.candidate)
        for device in facts.devices
        if device.assigned_seq
    }


def _stay(
    facts: RolloutFacts,
    *,
    assign: list[str] | None = None,
    withdraw: list[str] | None = None,
    verdict: Verdict | None = None,
) -> Step:
    return Step(
        state=facts.state,
        stage=facts.stage,
        reason=verdict.reason if verdict else "",
        assign=assign or [],
        withdraw=withdraw or [],
        outcomes={} if facts.state in BACKWARD else _outcomes(facts),
        verdict=verdict,
    )


def _move(
    facts: RolloutFacts,
    event: Event,
    reason: str,
    *,
    withdraw: list[str] | None = None,
    verdict: Verdict | None = None,
) -> Step:
    return Step(
        event=event,
        state=TRANSITIONS[facts.state, event],
        stage=facts.stage + (event is Event.PROMOTED),
        reason=reason,
        withdraw=withdraw or [],
        outcomes={} if facts.state in BACKWARD else _outcomes(facts),
        verdict=verdict,
    )

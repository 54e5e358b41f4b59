"""The rollout engine: ``step(facts, now)`` decides what happens next. Pure.

One call makes at most one transition and names the assignments that are due. It is
idempotent: with its effects applied and no news, the next call decides nothing.
Recovery after a crash is simply the next call. Called by :mod:`hub.rollout.service`.
"""

from dataclasses import dataclass, field

from hub.rollout.device_facts import FAILED, DeviceFacts, Outcome, is_to_be_retried
from hub.rollout.gates.failures import find_left_out, left_out_text
from hub.rollout.gates.result import Decision, StageFacts
from hub.rollout.judge import Verdict, judge, outcomes_of
from hub.rollout.label_pairs import DeviceLoss, LabelCell, measure_cells
from hub.rollout.plan import Plan
from hub.rollout.states import BACKWARD, CLOSED, STAGED, TRANSITIONS, Event, State


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutFacts:
    """Everything that a decision may depend on.

    ``given`` maps the devices that got the candidate from this rollout to the release
    that their newest assignment names, ``prior`` those that get another release back
    than the incumbent to that. ``losses`` are of devices whose labels name the answers
    of both releases, ``cells`` count all labels.
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
    prior: dict[str, int] = field(default_factory=dict)
    losses: list[DeviceLoss] = field(default_factory=list)
    abort_reason: str = ""

    def back_to(self, device: str) -> int:
        """Return what a device gets instead of the candidate (0: nothing)."""
        return self.prior.get(device, self.incumbent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do: at most one transition, and assignments.

    ``assign`` get the candidate, ``retry`` get it once more, ``withdraw`` get back what
    they had, or nothing where that is none. ``leave_out`` are hardware classes that get
    the candidate no more, with why. ``outcomes`` is each assigned device's outcome now.
    """

    event: Event | None = None
    state: State
    stage: int
    reason: str = ""
    assign: list[str] = field(default_factory=list)
    withdraw: list[str] = field(default_factory=list)
    retry: list[str] = field(default_factory=list)
    leave_out: dict[str, str] = field(default_factory=dict)
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
    if chores := _chores(facts):
        return chores
    deadline_at = facts.stage_started_at + facts.plan.stage_deadline_s
    stage = stage_facts(facts, deadline_at=deadline_at, overdue=now >= deadline_at)
    if leave_out := find_left_out(stage):
        return _leave_out(facts, leave_out)
    verdict = judge(stage)
    if verdict.decision is Decision.ABORT:
        return _move(facts, Event.ABORTED, verdict.reason, verdict=verdict)
    if verdict.decision is Decision.PROMOTE:
        last = facts.stage >= facts.plan.last_stage
        event = Event.FINISHED if last else Event.PROMOTED
        return _move(facts, event, verdict.reason, verdict=verdict)
    if stage.overdue and facts.state is not State.HOLD:
        text = f"stage {facts.stage} is past its deadline: {verdict.reason}"
        return _move(facts, Event.OVERDUE, text, verdict=verdict)
    return _stay(facts, verdict=verdict)


def _step_soak(facts: RolloutFacts, now: float) -> Step:
    if chores := _chores(facts):
        return chores
    ends_at = facts.stage_started_at + facts.plan.soak_s
    stage = stage_facts(facts, deadline_at=ends_at, soaking=True)
    if leave_out := find_left_out(stage):
        return _leave_out(facts, leave_out)
    verdict = judge(stage)
    if verdict.decision is Decision.ABORT:
        return _move(facts, Event.ABORTED, verdict.reason, verdict=verdict)
    if now >= ends_at:
        return _move(facts, Event.SOAKED, verdict.reason, verdict=verdict)
    return _stay(facts, verdict=verdict)


def stage_facts(
    facts: RolloutFacts,
    *,
    deadline_at: float,
    overdue: bool = False,
    soaking: bool = False,
) -> StageFacts:
    """Return what the gates read of a rollout."""
    gone = {d.device for d in facts.devices if d.hardware in facts.plan.left_out}
    cells = [cell for cell in facts.cells if cell.device not in gone]
    pairs = [one for one in facts.losses if one.device not in gone]
    # A few pairs must not hide what many labels of different samples say.
    paired = [one for one in pairs if one.decides]
    known = {one.device for one in paired}
    unpaired = [one for one in measure_cells(cells) if one.device not in known]
    losses = [*paired, *unpaired]
    return StageFacts(
        rollout=facts.rollout,
        stage=facts.stage,
        candidate=facts.candidate,
        plan=facts.plan,
        devices=facts.devices,
        outcomes=_outcomes(facts),
        losses=losses,
        labels=sum(one.n for one in losses if one.decides or not one.paired),
        labelled=bool(pairs) or any(cell.incumbent_n for cell in cells),
        overdue=overdue,
        soaking=soaking,
        deadline_at=deadline_at,
    )


def _chores(facts: RolloutFacts) -> Step | None:
    """Return the assignments that are due before anything is judged."""
    due, withdraw = _due(facts), _to_withdraw(facts)
    retry = [
        device.device
        for device in facts.devices
        if device.assigned_seq
        and device.hardware not in facts.plan.left_out
        and is_to_be_retried(device, facts.candidate)
    ]
    if due or withdraw or retry:
        return _stay(facts, assign=due, withdraw=withdraw, retry=retry)
    return None


def _to_withdraw(facts: RolloutFacts) -> list[str]:
    """Return the devices that have the candidate though it is not for them.

    They are of a class that is left out, or what they saw after the commit speaks
    against it there.
    """
    return [
        device.device
        for device in facts.devices
        if facts.given.get(device.device) == facts.candidate
        and facts.back_to(device.device) != facts.candidate
        and (device.hardware in facts.plan.left_out or device.evidence == FAILED)
    ]


def _leave_out(facts: RolloutFacts, leave_out: dict[str, str]) -> Step:
    return Step(
        state=facts.state,
        stage=facts.stage,
        reason=left_out_text({**facts.plan.left_out, **leave_out}),
        leave_out=leave_out,
        outcomes=_outcomes(facts),
    )


def _step_back(facts: RolloutFacts) -> Step:
    due = sorted(
        device
        for device, release in facts.given.items()
        if release == facts.candidate != facts.back_to(device)
    )
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
        and not device.boxed
        and facts.back_to(device.device)
        and device.release != facts.back_to(device.device)
    ]
    if away:
        return _stay(facts)
    offline = sum(1 for d in facts.devices if d.device in facts.given and not d.online)
    boxed = sum(
        1
        for d in facts.devices
        if d.device in facts.given
        and d.online
        and d.boxed
        and d.release == facts.candidate != facts.back_to(d.device)
    )
    text = f"{len(facts.given) - offline - boxed} devices are back, {offline} unreached"
    text += f", {boxed} pinned or in their penalty box" if boxed else ""
    if not facts.incumbent:
        text = "there is no incumbent to go back to; the assignments are withdrawn"
    return _move(facts, Event.BACK, text)


def _due(facts: RolloutFacts) -> list[str]:
    return [
        device.device
        for device in facts.devices
        if device.assigned_seq == 0
        and device.stage <= facts.stage
        and device.hardware not in facts.plan.left_out
        and (facts.plan.forced or not (device.quarantined or device.boxed))
    ]


def _outcomes(facts: RolloutFacts) -> dict[str, Outcome]:
    return outcomes_of(facts.devices, facts.candidate, facts.plan)


def _stay(
    facts: RolloutFacts,
    *,
    assign: list[str] | None = None,
    withdraw: list[str] | None = None,
    retry: list[str] | None = None,
    verdict: Verdict | None = None,
) -> Step:
    return Step(
        state=facts.state,
        stage=facts.stage,
        reason=verdict.reason if verdict else "",
        assign=assign or [],
        withdraw=withdraw or [],
        retry=retry or [],
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

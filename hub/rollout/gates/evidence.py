"""Has a device of each hardware class shown that the release works? Pure.

The first time there is a device of every class in the stage, one that tested the
release conclusively must be among them. Devices that could not tell are waited for
until the stage's deadline; then a person, or the plan's ``promote_untested``, decides.
Silence and devices that never heard of the release neither promote nor block.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from hub.rollout.device_facts import UNTESTED, DeviceFacts, Outcome, class_name
from hub.rollout.gates.failures import has_control
from hub.rollout.gates.result import Decision, GateResult, StageFacts

NAME = "evidence"
_SHOWN = 5
_RUNS_IT = (Outcome.OK, Outcome.INCONCLUSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What evidence a stage lacks and nobody has approved yet."""

    devices: list[DeviceFacts]
    classes: list[str]

    def __bool__(self) -> bool:
        """Whether anything is missing."""
        return bool(self.devices or self.classes)


def judge_evidence(facts: StageFacts) -> GateResult:
    """Decide whether enough devices have shown that the release works."""
    runs_it = facts.with_outcome(*_RUNS_IT)
    lacks = missing(facts)
    waiting = _waiting(facts)
    if not runs_it:
        return _result(Decision.HOLD, _nothing_text(facts), 0, 1)
    untested = facts.soaking or (facts.overdue and facts.plan.promote_untested)
    if lacks and not untested:
        text = _missing_text(facts, lacks)
        text += f"; {_waiting_text(facts, waiting)}" if waiting else ""
        return _result(Decision.HOLD, text, len(lacks.devices), 0)
    if waiting:
        text = _waiting_text(facts, waiting)
        return _result(Decision.HOLD, text, waiting, 0)
    return _result(Decision.PROMOTE, _promoted_text(facts), len(runs_it), 1)


def missing(facts: StageFacts) -> Missing:
    """Return the inconclusive devices, and the classes without a conclusive one."""
    approved = facts.plan.approvals
    devices = {name for one in approved for name in one.devices}
    classes = {name for one in approved for name in one.classes}
    waited = facts.with_outcome(Outcome.INCONCLUSIVE)
    if facts.overdue and not has_control(facts):
        # Nobody can tell whether silence is the release's: a person decides.
        waited += facts.with_outcome(Outcome.SILENT)
    settled = {d.hardware for d in facts.with_outcome(Outcome.OK)}
    got_it = facts.with_outcome(Outcome.INCONCLUSIVE, Outcome.FAIL, Outcome.SILENT)
    present = {device.hardware for device in got_it}
    return Missing(
        devices=[device for device in waited if device.device not in devices],
        classes=sorted(present - settled - classes),
    )


def utc_minute(at: float) -> str:
    """Return a time of day for people."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M UTC")


def settle_text(facts: StageFacts) -> str:
    """Say by which command a person settles what evidence does not."""
    stage = facts.stage + 1
    return f"hub rollouts promote {facts.rollout} --approve WHY --stage {stage}"


def _waiting(facts: StageFacts) -> int:
    pending = len(facts.with_outcome(Outcome.PENDING))
    if facts.overdue:
        return pending  # Silence is counted by now, or is evidence that is missing.
    return pending + len(facts.with_outcome(Outcome.SILENT))


def _waiting_text(facts: StageFacts, waiting: int) -> str:
    silent = len(facts.with_outcome(Outcome.SILENT))
    retried = sum(1 for d in facts.with_outcome(Outcome.PENDING) if d.retries)
    notes = f", {silent} of them silent" if silent else ""
    notes += f", {retried} of them tried once more" if retried else ""
    return f"waiting for {waiting} devices{notes}"


def _nothing_text(facts: StageFacts) -> str:
    text = "no device has reported success yet"
    failed = facts.with_outcome(Outcome.FAIL)
    if not failed:
        return text
    named = ", ".join(f"{d.device} {d.code}".strip() for d in failed[:_SHOWN])
    return f"{text}; {len(failed)} failed for causes outside the release: {named}"


def _missing_text(facts: StageFacts, lacks: Missing) -> str:
    until = utc_minute(facts.deadline_at)
    staged = len(facts.judged)
    parts: list[str] = []
    if lacks.devices:
        count = f"{len(lacks.devices)} of {staged} devices"
        verb = "no evidence from" if facts.overdue else "waiting for evidence from"
        when = f"by {until}" if facts.overdue else f"until {until}"
        parts.append(f"{verb} {count} {when}: {_names(lacks.devices)}")
    else:
        parts.append(f"no evidence {'by' if facts.overdue else 'yet, until'} {until}")
    if lacks.classes:
        named = ", ".join(class_name(one) for one in lacks.classes)
        parts.append(f"no conclusive device of {named}")
    if lacks.devices:
        parts.append("they go on by themselves once they get samples")
    parts.append(f"or: {settle_text(facts)}")
    return "; ".join(parts)


def _names(devices: list[DeviceFacts]) -> str:
    named = [f"{d.where}{_since(d)}: {d.lacks}" for d in devices[:_SHOWN]]
    more = [f"{len(devices) - _SHOWN} more"] if len(devices) > _SHOWN else []
    return ", ".join(named + more)


def _since(device: DeviceFacts) -> str:
    return f" since {utc_minute(device.ended_at)}" if device.ended_at else ""


def _promoted_text(facts: StageFacts) -> str:
    ok = facts.with_outcome(Outcome.OK)
    classes = Counter(class_name(device.hardware) for device in ok)
    by_class = ", ".join(f"{name} {count}" for name, count in sorted(classes.items()))
    text = f"{len(ok)} devices ok"
    text += f" ({by_class})" if len(classes) > 1 else ""
    untested = sum(1 for device in ok if device.evidence == UNTESTED)
    text += f", {untested} of them untested on live input" if untested else ""
    if inconclusive := len(facts.with_outcome(Outcome.INCONCLUSIVE)):
        how = "approved" if facts.plan.approvals else "by promote_untested"
        text += f", {inconclusive} inconclusive ({how})"
    return f"{text}, {len(facts.with_outcome(Outcome.UNREACHED))} unreached"


def _result(decision: Decision, text: str, observed: float, limit: float) -> GateResult:
    return GateResult(
        name=NAME, decision=decision, observed=observed, limit=limit, text=text
    )

"""Is the release stopped by failed devices, for all or for one hardware class? Pure.

A paired test that is right about an equal release in all but one of a thousand devices
(:data:`FALSE_STOP`) still fails somewhere in every large fleet. So no failure at all is
allowed only while devices times that ratio is at most 1 %; above that the one-sided
e-value decides (:mod:`hub.rollout.evalue`). A hardware class whose own e-value crosses
the threshold, which the plan's classes share, is left out instead of ending the release
for all. An operator's ``max_failures`` is a hard limit beside both.
"""

from collections.abc import Sequence

from hub.rollout.device_facts import DeviceFacts, Outcome, class_name, is_by_release
from hub.rollout.evalue import ALPHA, evalue, threshold
from hub.rollout.gates.result import Decision, GateResult, StageFacts

NAME = "failures"
FALSE_STOP = 0.001
"""Share of devices on which the paired test stops an equal release, at most."""
_ENDED = (Outcome.OK, Outcome.INCONCLUSIVE, Outcome.FAIL)
_SHOWN = 5


def judge_failures(facts: StageFacts) -> GateResult:
    """Decide whether failures stop the release for the classes that still get it."""
    failed = facts.with_outcome(Outcome.FAIL)
    silent = counted_silence(facts)
    by_release = [*filter(is_by_release, failed), *silent]
    ended = len(facts.with_outcome(*_ENDED)) + len(silent)
    # Classes that are left out were planned too: the rule for the rest stays.
    planned = len(facts.devices)
    hard = facts.plan.max_failures
    if hard is not None and len(failed) + len(silent) > hard:
        text = f"{len(failed) + len(silent)} of {ended} devices failed, {hard} allowed"
        return _abort(f"{text}: {_names(failed)}", len(failed) + len(silent), hard)
    if allows_none(planned):
        text = f"{len(by_release)} of {ended} devices failed, none allowed among"
        if by_release:
            text = f"{text} {planned}: {_names(by_release)}"
            return _abort(text, len(by_release), 0)
        return _passed(failed, ended, 0.0, 0.0)
    found, limit = evalue(len(by_release), ended), threshold()
    if found >= limit:
        text = (
            f"{len(by_release)} of {ended} devices failed: e-value {found:.3g} of"
            f" {limit:g} against a failure ratio of 1 %"
        )
        return _abort(f"{text}: {_names(by_release)}", found, limit)
    return _passed(failed, ended, found, limit)


def find_left_out(facts: StageFacts) -> dict[str, str]:
    """Return the hardware classes that are to be left out now, each with why.

    A single class, or all that are not left out already, are the release's end instead:
    then the result is empty and :func:`judge_failures` counts them.
    """
    classes = {device.hardware for device in facts.devices}
    left = classes - set(facts.plan.left_out)
    if len(left) < 2:  # noqa: PLR2004 - the rest must be somebody
        return {}
    limit = threshold(len(classes))
    found: dict[str, str] = {}
    for hardware in sorted(left):
        ended = [d for d in facts.with_outcome(*_ENDED) if d.hardware == hardware]
        failed = [
            device
            for device in ended
            if facts.outcomes[device.device] is Outcome.FAIL and is_by_release(device)
        ]
        if evalue(len(failed), len(ended)) >= limit:
            codes = ", ".join(sorted({d.code or "quarantined" for d in failed}))
            found[hardware] = f"{len(failed)} of {len(ended)} failed: {codes}"
    return {} if set(found) == left else found


def left_out_text(left_out: dict[str, str]) -> str:
    """Name the classes that are left out, or return ""."""
    named = [f"{class_name(one)} ({why})" for one, why in sorted(left_out.items())]
    return f"left out: {', '.join(named)}" if named else ""


def counted_silence(facts: StageFacts) -> list[DeviceFacts]:
    """Return the silent devices that count as failures.

    Past the deadline, silence is a failure beyond the control group's own, and nothing
    at all within it; before the deadline it is waited for. A device that failed softly
    and fell silent at its second try has failed once in any case.
    """
    if not facts.overdue:
        return []
    silent = facts.with_outcome(Outcome.SILENT)
    return silent if is_silence_worse(facts) else [d for d in silent if d.retries]


def is_silence_worse(facts: StageFacts) -> bool:
    """Tell whether the stage is more silent than the devices outside it.

    Without any outside it nothing can be told (:mod:`hub.rollout.gates.evidence`).
    """
    silent = len(facts.with_outcome(Outcome.SILENT))
    control = _control(facts)
    offline = sum(1 for device in control if not device.online)
    if not silent or not control:
        return False
    return silent / len(facts.outcomes) > offline / len(control)


def has_control(facts: StageFacts) -> bool:
    """Tell whether there are devices without the release, to compare silence with."""
    return bool(_control(facts))


def _control(facts: StageFacts) -> list[DeviceFacts]:
    return [device for device in facts.devices if device.assigned_seq == 0]


def allows_none(planned: int) -> bool:
    """Tell whether a rollout of so many devices bears no failure at all."""
    return planned * FALSE_STOP <= ALPHA


def _passed(
    failed: Sequence[DeviceFacts], ended: int, found: float, limit: float
) -> GateResult:
    if not failed:
        text = f"none of {ended} devices failed"
    else:
        text = f"{len(failed)} of {ended} devices failed: {_names(failed)}"
        text += f"; e-value {found:.2g} of {limit:g}" if limit else ""
    return GateResult(
        name=NAME, decision=Decision.PROMOTE, observed=found, limit=limit, text=text
    )


def _abort(text: str, observed: float, limit: float) -> GateResult:
    return GateResult(
        name=NAME, decision=Decision.ABORT, observed=observed, limit=limit, text=text
    )


def _names(failed: Sequence[DeviceFacts]) -> str:
    named = [
        f"{d.device} {d.code}".strip()
        if d.code or d.quarantined
        else f"{d.device} silent after activation"
        for d in failed[:_SHOWN]
    ]
    more = [f"{len(failed) - _SHOWN} more"] if len(failed) > _SHOWN else []
    return ", ".join(named + more)

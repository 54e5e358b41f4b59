"""What must not pass a rollout's gate for want of evidence, or stop it for others'."""

from typing import Any

from edge_agent.wire.records import ShadowSummary
from hub.rollout.device_facts import DeviceFacts, Outcome, outcome_of
from hub.rollout.label_pairs import LabelCell, measure_loss
from hub.rollout.machine import RolloutFacts, Step, step
from hub.rollout.plan import Plan
from hub.rollout.states import Event, State

PLAN = Plan(
    stages=(0.5, 1.0),
    min_labels=0,
    accuracy_drop_max=0.05,
    soak_s=10.0,
    stage_deadline_s=1000.0,
)
LATE = 2000.0


def device(place: int, hardware: str = "x", **changes: object) -> DeviceFacts:
    """Return a device on which the candidate was conclusively committed."""
    good: dict[str, object] = {
        "device": f"{hardware}{place}",
        "stage": 0,
        "online": True,
        "hardware": hardware,
        "assigned_seq": 5,
        "release": 2,
        "phase": "IDLE",
        "reported_seq": 5,
        "heard": True,
        "outcome": "committed",
        "evidence": "conclusive",
        "tells_evidence": True,
    }
    told: dict[str, Any] = {**good, **changes}
    return DeviceFacts(**told)


def decide(devices: list[DeviceFacts], now: float = 1.0, **changes: object) -> Step:
    """Decide about a canary of these devices."""
    facts: dict[str, object] = {
        "rollout": "r",
        "state": State.CANARY,
        "stage": 0,
        "stage_started_at": 0.0,
        "candidate": 2,
        "incumbent": 1,
        "signed": True,
        "plan": PLAN,
        "devices": devices,
        "cells": [],
        "given": {d.device: d.release for d in devices if d.assigned_seq},
    }
    told: dict[str, Any] = {**facts, **changes}
    return step(RolloutFacts(**told), now)


def later(place: int, **changes: object) -> DeviceFacts:
    """Return a device of the next stage: the control group."""
    return device(place, "x", assigned_seq=0, stage=1, outcome="", **changes)


def test_a_twin_whose_record_has_not_come_is_no_evidence() -> None:
    """What a newer agent says of its evidence is waited for; an older one says none."""
    silent = [device(n, heard=False, outcome="", evidence="") for n in range(3)]
    decided = decide([*silent, later(9)])
    assert decided.event is None
    assert "its report has not come yet" in decided.reason
    old = device(0, heard=False, outcome="", evidence="", tells_evidence=False)
    assert outcome_of(old, 2) is Outcome.OK


def test_a_soft_failure_is_not_forgotten_by_going_offline() -> None:
    """Its second try is waited for until the deadline, and then it has failed once."""
    gone = device(
        7,
        online=False,
        release=1,
        assigned_seq=9,
        heard=False,
        outcome="",
        evidence="",
        retries=1,
    )
    devices = [*(device(n) for n in range(7)), gone]
    assert decide(devices).event is None
    assert decide([*devices, later(9, online=False)], LATE).event is Event.ABORTED


def test_silence_that_is_counted_is_not_waited_for_too() -> None:
    """Past the deadline one silent device of fifty does not hold a stage."""
    gone = device(50, online=False, release=1, outcome="", evidence="")
    control = [later(100 + n) for n in range(20)]
    decided = decide([*(device(n) for n in range(49)), gone, *control], LATE)
    assert decided.event is Event.PROMOTED


def test_silence_that_nothing_can_be_compared_with_is_a_persons_to_judge() -> None:
    """In the last stage everybody has the release: one silent device aborts nothing."""
    gone = device(7, online=False, release=1, outcome="", evidence="")
    decided = decide([*(device(n) for n in range(7)), gone], LATE)
    assert decided.event is Event.OVERDUE
    assert "x7 (x): silent since it got the release" in decided.reason
    assert "--approve" in decided.reason


def cells(name: str, right: int, before: int) -> list[LabelCell]:
    """Return labels of 200 samples by either release, so many of a hundred right."""
    return [
        LabelCell(
            device=name,
            label="a",
            candidate_n=200,
            candidate_correct=2 * right,
            incumbent_n=200,
            incumbent_correct=2 * before,
        )
    ]


def test_a_few_pairs_hide_no_loss() -> None:
    """A device with one labelled pair is judged by its many labels without one."""
    devices = [device(n) for n in range(8)]
    losses = [measure_loss(d.device, [0]) for d in devices]
    worse = [one for d in devices for one in cells(d.device, 50, 90)]
    decided = decide(devices, cells=worse, losses=losses)
    assert decided.event is Event.ABORTED
    assert "+40.0 points" in decided.reason


def test_pairs_that_cannot_decide_are_no_comparable_labels() -> None:
    """Fifty pairs a device, all lost, hold a stage that asks for labels."""
    devices = [device(n) for n in range(8)]
    losses = [measure_loss(d.device, [1] * 50) for d in devices]
    plan = Plan(**{**_fields(PLAN), "min_labels": 40})
    assert decide(devices, losses=losses, plan=plan).event is None


def test_a_class_that_is_left_out_speaks_in_no_gate() -> None:
    """Neither its labels nor its shadows end the release for the others."""
    plan = Plan(
        **{
            **_fields(PLAN),
            "left_out": {"y": "4 of 4 failed"},
            "shadow_disagreement_max": 0.2,
        }
    )
    wild = ShadowSummary(release=2, n=100, disagreement_ratio=1.0)
    bad = [
        device(
            n,
            "y",
            release=1,
            outcome="failed",
            evidence="",
            code="AGENT-UPDATE-110",
            shadow=wild,
        )
        for n in range(6)
    ]
    losses = [measure_loss(d.device, [1] * 200) for d in bad]
    decided = decide([*(device(n) for n in range(8)), *bad], plan=plan, losses=losses)
    assert decided.event is Event.PROMOTED


def test_leaving_a_class_out_does_not_change_the_rule_for_the_rest() -> None:
    """One failure of thirteen planned devices stays tolerated among ten."""
    plan = Plan(**{**_fields(PLAN), "left_out": {"y": "3 of 3 failed"}})
    failed: dict[str, Any] = {"release": 1, "evidence": ""}
    devices = [
        *(device(n) for n in range(9)),
        device(9, outcome="rolled_back", code="AGENT-UPDATE-050", **failed),
        *(
            device(n, "y", outcome="failed", code="AGENT-UPDATE-110", **failed)
            for n in range(3)
        ),
    ]
    assert decide(devices, plan=plan).event is Event.PROMOTED


def test_a_class_that_fell_silent_has_shown_nothing() -> None:
    """It holds the stage past its deadline, though others are as silent."""
    gone = device(0, "z", online=False, release=1, outcome="", evidence="")
    control = [later(100 + n, online=n > 3) for n in range(9)]
    decided = decide([*(device(n) for n in range(9)), gone, *control], LATE)
    assert decided.event is Event.OVERDUE
    assert "no conclusive device of z" in decided.reason


def test_a_pinned_device_does_not_keep_a_rollout_from_ending() -> None:
    """Who holds on to the candidate is counted, and later rollouts can start."""
    pinned = device(0, boxed=True)
    decided = decide([pinned], state=State.ROLLING_BACK, given={"x0": 1})
    assert decided.event is Event.BACK
    assert "1 pinned" in decided.reason


def _fields(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}

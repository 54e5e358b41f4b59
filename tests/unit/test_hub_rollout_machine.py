"""The engine: every path of a rollout, one transition at a time."""

from dataclasses import replace
from typing import Any

from hub.rollout.device_facts import DeviceFacts, Outcome
from hub.rollout.machine import RolloutFacts, step
from hub.rollout.plan import Plan
from hub.rollout.states import BACKWARD, CLOSED, TRANSITIONS, Event, State

PLAN = Plan(
    stages=(0.5, 1.0),
    devices={"d1": 0, "d2": 1},
    max_failures=0,
    min_labels=0,
    accuracy_drop_max=0.1,
    soak_s=3.0,
    stage_deadline_s=60.0,
)


def device(name: str, stage: int, **changes: Any) -> DeviceFacts:  # noqa: ANN401 - any field
    """Return an online device on release 1 that was assigned nothing."""
    known: dict[str, Any] = {
        "device": name,
        "stage": stage,
        "online": True,
        "release": 1,
        "phase": "IDLE",
    }
    return DeviceFacts(**{**known, **changes})


def committed(name: str, stage: int) -> DeviceFacts:
    """Return a device that runs release 2 since assignment 5."""
    return device(
        name, stage, assigned_seq=5, reported_seq=5, release=2, outcome="committed"
    )


def rollout(state: State, *devices: DeviceFacts, **changes: Any) -> RolloutFacts:  # noqa: ANN401 - any field
    """Return a rollout of release 2 over release 1, in its first stage."""
    facts = RolloutFacts(
        rollout="r",
        state=state,
        stage=0,
        stage_started_at=0.0,
        candidate=2,
        incumbent=1,
        signed=True,
        plan=PLAN,
        devices=list(devices) or [device("d1", 0), device("d2", 1)],
        cells=[],
        given={d.device: 2 for d in devices if d.assigned_seq},
    )
    return replace(facts, **changes)


def test_an_unsigned_release_goes_no_further_than_validated() -> None:
    """Only what is signed reaches a device."""
    facts = rollout(State.VALIDATED, signed=False)

    assert step(facts, 1.0).event is None


def test_only_the_present_stage_is_assigned() -> None:
    """A device of a later stage waits."""
    decided = step(rollout(State.CANARY), 1.0)

    assert (decided.event, decided.assign) == (None, ["d1"])


def test_a_good_canary_is_promoted() -> None:
    """The next stage begins, one at a time."""
    decided = step(rollout(State.CANARY, committed("d1", 0), device("d2", 1)), 1.0)

    assert (decided.state, decided.stage) == (State.GRADUAL, 1)
    assert decided.outcomes == {"d1": Outcome.OK}


def test_the_last_stage_soaks_and_completes() -> None:
    """After the last promotion it is watched for the soak time."""
    both = (committed("d1", 0), committed("d2", 1))
    decided = step(rollout(State.GRADUAL, *both, stage=1), 1.0)
    assert decided.state is State.SOAK

    soaking = rollout(State.SOAK, *both, stage=1, stage_started_at=1.0)
    assert step(soaking, 3.9).event is None
    assert step(soaking, 4.0).state is State.COMPLETED


def test_past_its_deadline_a_stage_holds_and_can_still_go_on() -> None:
    """HOLD is no end: evidence that comes later promotes."""
    waiting = device("d1", 0, assigned_seq=5)
    assert step(rollout(State.CANARY, waiting), 59.0).event is None
    assert step(rollout(State.CANARY, waiting), 60.0).state is State.HOLD
    late = rollout(State.HOLD, committed("d1", 0), device("d2", 1))
    assert step(late, 100.0).state is State.GRADUAL


def test_a_failed_canary_is_rolled_back_to_the_incumbent() -> None:
    """Every device that was given the candidate gets the incumbent, then it ends."""
    failed = device("d1", 0, assigned_seq=5, reported_seq=5, outcome="rolled_back")
    aborted = step(rollout(State.CANARY, failed, device("d2", 1)), 1.0)
    assert aborted.state is State.ABORTING

    ordered = step(rollout(State.ABORTING, failed, device("d2", 1)), 1.0)
    assert (ordered.state, ordered.withdraw) == (State.ROLLING_BACK, ["d1"])

    back = rollout(State.ROLLING_BACK, failed, given={"d1": 1})
    assert step(back, 1.0).state is State.ROLLED_BACK


def test_rolling_back_waits_for_what_devices_report() -> None:
    """A reachable device that still runs the candidate is not back; a lost one is."""
    still = rollout(State.ROLLING_BACK, committed("d1", 0), given={"d1": 1})
    assert step(still, 1.0).event is None

    lost = replace(committed("d1", 0), online=False)
    decided = step(rollout(State.ROLLING_BACK, lost, given={"d1": 1}), 1.0)
    assert decided.state is State.ROLLED_BACK
    assert "1 unreached" in decided.reason


def test_without_an_incumbent_the_assignments_are_withdrawn() -> None:
    """There is nothing to go back to, and the candidate is offered no longer."""
    failed = device("d1", 0, release=0, assigned_seq=5, outcome="failed")
    facts = rollout(State.ABORTING, failed, incumbent=0)
    assert step(facts, 1.0).withdraw == ["d1"]

    decided = step(replace(facts, state=State.ROLLING_BACK, given={"d1": 0}), 1.0)
    assert decided.state is State.ROLLED_BACK


def test_a_rollout_without_devices_waits() -> None:
    """Nothing completes on an empty fleet."""
    facts = replace(rollout(State.CANARY), devices=[])

    assert step(facts, 1.0).event is None


def test_every_open_state_can_be_aborted_and_superseded() -> None:
    """The way out is always there; on the way back there is only the end."""
    for state in set(State) - CLOSED - BACKWARD:
        assert TRANSITIONS[state, Event.ABORTED] is State.ABORTING
        assert TRANSITIONS[state, Event.SUPERSEDED] is State.SUPERSEDED
    for state in CLOSED:
        assert not [key for key in TRANSITIONS if key[0] is state]


def mixed(stage: int = 0, **changes: Any) -> RolloutFacts:  # noqa: ANN401 - any field
    """Return a rollout where both armv7 devices failed and both x86 ones did not."""
    bad = {
        "assigned_seq": 5,
        "outcome": "failed",
        "code": "AGENT-UPDATE-114",
        "hardware": "armv7",
    }
    devices = [
        device("d1", 0, **bad),
        device("d2", 0, **bad),
        *(replace(committed(name, 0), hardware="x86") for name in ("d3", "d4")),
        *(device(f"e{n}", 1, hardware="armv7") for n in range(10)),
    ]
    return replace(rollout(State.CANARY, *devices), stage=stage, **changes)


def test_a_class_that_always_fails_is_left_out_and_named() -> None:
    """Its devices get back what they had, no more get it, and the rest goes on."""
    facts = mixed()
    decided = step(facts, 1.0)
    assert decided.leave_out == {"armv7": "2 of 2 failed: AGENT-UPDATE-114"}
    assert decided.event is None

    plan = replace(PLAN, left_out=decided.leave_out)
    facts = replace(facts, plan=plan)
    decided = step(facts, 1.0)
    assert decided.withdraw == ["d1", "d2"]
    assert decided.outcomes["d1"] is Outcome.LEFT_OUT

    facts = replace(facts, given={"d1": 1, "d2": 1, "d3": 2, "d4": 2})
    decided = step(facts, 1.0)
    assert decided.event is Event.PROMOTED
    assert "left out: armv7 (2 of 2 failed: AGENT-UPDATE-114)" in decided.reason
    assert step(replace(facts, stage=1), 1.0).assign == []


def test_a_single_class_that_fails_ends_the_rollout() -> None:
    """There is nobody to go on with."""
    facts = mixed()
    same = [replace(one, hardware="x86") for one in facts.devices]

    assert step(replace(facts, devices=same), 1.0).event is not Event.PROMOTED
    failing = [replace(d, outcome="failed", code="") for d in same if d.assigned_seq]
    decided = step(replace(facts, devices=failing + same[4:]), 1.0)
    assert (decided.event, decided.leave_out) == (Event.ABORTED, {})


def test_a_soft_failure_is_retried_once() -> None:
    """The first time the device gets the release again, the second time it counts."""
    slow = device("d1", 0, assigned_seq=5, outcome="failed", code="AGENT-UPDATE-113")
    decided = step(rollout(State.CANARY, slow, device("d2", 1)), 1.0)
    assert (decided.retry, decided.event) == (["d1"], None)
    assert decided.outcomes == {"d1": Outcome.PENDING}

    again = replace(slow, retries=1)
    plan = replace(PLAN, max_failures=None)
    facts = rollout(State.CANARY, again, device("d2", 1), plan=plan)
    assert step(facts, 1.0).event is Event.ABORTED


def test_what_fails_after_the_commit_is_taken_back_on_that_device() -> None:
    """The device goes on with what it had; one of many does not end the release."""
    late = replace(committed("d1", 0), evidence="failed", code="AGENT-UPDATE-111")
    others = [committed(f"o{n}", 0) for n in range(30)]
    plan = replace(PLAN, max_failures=None)
    facts = rollout(State.CANARY, late, *others, plan=plan)
    decided = step(facts, 1.0)
    assert decided.withdraw == ["d1"]

    facts = replace(facts, given={**facts.given, "d1": 1})
    assert step(facts, 1.0).event is Event.PROMOTED


def test_a_device_goes_back_to_what_it_had() -> None:
    """That is the incumbent, but for devices that the incumbent left out."""
    facts = rollout(
        State.ROLLING_BACK,
        device("d1", 0, assigned_seq=5),
        given={"d1": 7},
        prior={"d1": 7},
        incumbent=3,
    )
    assert step(facts, 1.0).event is None
    at_7 = [replace(one, release=7) for one in facts.devices]
    assert step(replace(facts, devices=at_7), 1.0).state is State.ROLLED_BACK

"""The gate's truth table: no data holds, failures abort, evidence promotes."""

from dataclasses import replace
from typing import Any

import pytest

from hub.rollout.device_facts import DeviceFacts, Outcome, outcome_of
from hub.rollout.gates.result import Decision
from hub.rollout.judge import Verdict, judge
from hub.rollout.label_pairs import DeviceLoss, LabelCell, measure_cells
from hub.rollout.machine import RolloutFacts, stage_facts
from hub.rollout.plan import Approval, Plan
from hub.rollout.states import State

PLAN = Plan(
    stages=(0.5, 1.0),
    min_labels=40,
    accuracy_drop_max=0.05,
    soak_s=3.0,
    stage_deadline_s=60.0,
)


def facts(device: str = "d1", **changes: Any) -> DeviceFacts:  # noqa: ANN401 - any field
    """Return a device that committed release 2, but for ``changes``."""
    known: dict[str, Any] = {
        "device": device,
        "stage": 0,
        "online": True,
        "assigned_seq": 5,
        "release": 2,
        "phase": "IDLE",
        "reported_seq": 5,
        "heard": True,
        "outcome": "committed",
    }
    return DeviceFacts(**{**known, **changes})


def cell(candidate: tuple[int, int], incumbent: tuple[int, int]) -> LabelCell:
    """Return a cell from (correct, n) of candidate and incumbent."""
    return LabelCell(
        device="d1",
        label="raise",
        candidate_n=candidate[1],
        candidate_correct=candidate[0],
        incumbent_n=incumbent[1],
        incumbent_correct=incumbent[0],
    )


def verdict(
    *devices: DeviceFacts,
    cells: list[LabelCell] | None = None,
    losses: list[DeviceLoss] | None = None,
    overdue: bool = False,
    **plan: Any,  # noqa: ANN401 - any field
) -> Verdict:
    """Judge with the plan of this file, but for ``plan``."""
    rollout = RolloutFacts(
        rollout="watch-2-1",
        state=State.CANARY,
        stage=0,
        stage_started_at=0.0,
        candidate=2,
        incumbent=1,
        signed=True,
        plan=replace(PLAN, **plan),
        devices=list(devices),
        cells=cells or [],
        losses=losses or [],
        given={},
    )
    return judge(stage_facts(rollout, deadline_at=50_700.0, overdue=overdue))


def unsure(device: str = "d2", **changes: Any) -> DeviceFacts:  # noqa: ANN401 - any field
    """Return a device that committed without evidence."""
    known: dict[str, Any] = {
        "evidence": "inconclusive",
        "detail": "paired test: 12 of 64 samples",
        "ended_at": 50_000.0,
    }
    return facts(device, **{**known, **changes})


def failed(device: str = "d2", **changes: Any) -> DeviceFacts:  # noqa: ANN401 - any field
    """Return a device on which the release crashed."""
    known: dict[str, Any] = {
        "release": 1,
        "outcome": "rolled_back",
        "code": "AGENT-UPDATE-062",
    }
    return facts(device, **{**known, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Outcome.OK),
        ({"assigned_seq": 0}, Outcome.PENDING),
        ({"outcome": "", "phase": "PROBATION"}, Outcome.PENDING),
        ({"outcome": "", "phase": "IDLE"}, Outcome.OK),
        ({"outcome": "", "phase": "IDLE", "reported_seq": 4}, Outcome.PENDING),
        ({"release": 1}, Outcome.PENDING),
        ({"release": 1, "outcome": "rolled_back"}, Outcome.FAIL),
        ({"release": 1, "outcome": "failed"}, Outcome.FAIL),
        ({"release": 1, "outcome": "rejected"}, Outcome.FAIL),
        ({"release": 1, "outcome": "", "quarantined": True}, Outcome.FAIL),
        ({"evidence": "conclusive"}, Outcome.OK),
        ({"evidence": "untested"}, Outcome.OK),
        ({"evidence": "inconclusive"}, Outcome.INCONCLUSIVE),
        ({"evidence": "of a newer agent"}, Outcome.INCONCLUSIVE),
        ({"evidence": "failed", "code": "AGENT-UPDATE-113"}, Outcome.FAIL),
        ({"outcome": "failed", "code": "AGENT-UPDATE-113"}, Outcome.PENDING),
        (
            {"outcome": "failed", "code": "AGENT-UPDATE-113", "retries": 1},
            Outcome.FAIL,
        ),
        ({"release": 1, "outcome": "", "online": False}, Outcome.SILENT),
        (
            {
                "release": 1,
                "outcome": "",
                "online": False,
                "reported_seq": 4,
                "heard": False,
            },
            Outcome.UNREACHED,
        ),
    ],
)
def test_outcome_of_a_device(changes: dict[str, Any], expected: Outcome) -> None:
    """Success is what the device reports as loaded and committed, nothing less."""
    assert outcome_of(facts(**changes), candidate=2) is expected


def test_no_data_is_hold() -> None:
    """Without one success there is no promotion, however long it takes."""
    waiting = facts(release=1, outcome="", reported_seq=4)

    assert verdict(waiting).decision is Decision.HOLD
    assert verdict(waiting, overdue=True).decision is Decision.HOLD
    assert verdict().decision is Decision.HOLD


def test_everybody_committed_is_promote() -> None:
    """Devices without labels promote on what they report."""
    assert verdict(facts("d1"), facts("d2")).decision is Decision.PROMOTE


def test_an_unreached_device_does_not_block() -> None:
    """A device that was off all the time is no evidence."""
    away = facts("d2", online=False, outcome="", release=1, reported_seq=0, heard=False)

    assert verdict(facts("d1"), away).decision is Decision.PROMOTE


def test_in_a_small_fleet_one_failure_aborts_and_the_device_is_named() -> None:
    """The reason says which device failed and with which code."""
    found = verdict(facts("d1"), failed())

    assert found.decision is Decision.ABORT
    assert "d2 AGENT-UPDATE-062" in found.reason


def test_in_a_large_fleet_one_failure_is_no_reason_to_stop() -> None:
    """A test that is right 999 times of 1,000 fails somewhere; ratios decide."""
    fleet = [facts(f"d{n}") for n in range(40)]

    assert verdict(*fleet, failed("f1")).decision is Decision.PROMOTE
    several = [failed(f"f{n}") for n in range(4)]
    found = verdict(*fleet[:15], *several)
    assert found.decision is Decision.ABORT
    assert "e-value" in found.reason


def test_a_hard_limit_of_the_operator_stays() -> None:
    """With ``max_failures = 0`` one failure ends a rollout of any size."""
    fleet = [facts(f"d{n}") for n in range(40)]

    found = verdict(*fleet, failed("f1"), max_failures=0)
    assert found.decision is Decision.ABORT
    assert verdict(facts(), failed(), max_failures=1).decision is Decision.ABORT


@pytest.mark.parametrize(
    ("code", "failed_in", "aborts"),
    [
        ("AGENT-UPDATE-021", "DOWNLOAD", False),
        ("AGENT-UPDATE-012", "FETCH_META", False),
        ("AGENT-UPDATE-099", "IDLE", False),
        ("AGENT-STORE-001", "DOWNLOAD", False),
        ("AGENT-UPDATE-063", "FETCH_META", False),
        ("AGENT-UPDATE-063", "PROBATION", True),
        ("AGENT-UPDATE-041", "SELF_TEST", True),
        ("AGENT-UPDATE-110", "SHADOW", True),
        ("AGENT-UPDATE-999", "", True),
        ("", "", True),
    ],
)
def test_only_what_a_release_can_cause_counts(
    code: str, failed_in: str, *, aborts: bool
) -> None:
    """A full disk says nothing against a release, and is shown all the same."""
    odd = failed(code=code, failed_in=failed_in)
    found = verdict(facts("d1"), odd)

    assert found.counts["fail"] == 1
    expected = Decision.ABORT if aborts else Decision.PROMOTE
    assert found.decision is expected


def test_inconclusive_devices_are_waited_for_by_name() -> None:
    """The reason says on which device, since when, until when, and how to settle it."""
    found = verdict(facts("d1"), unsure("pump-3", hardware="armv7"))

    assert found.decision is Decision.HOLD
    for text in (
        "waiting for evidence from 1 of 2 devices until 14:05 UTC",
        "pump-3 (armv7) since 13:53 UTC: paired test: 12 of 64 samples",
        "no conclusive device of armv7",
        "hub rollouts promote watch-2-1 --approve WHY",
    ):
        assert text in found.reason


def test_past_the_deadline_a_person_or_the_plan_decides() -> None:
    """Without evidence nothing goes on by itself, unless the plan says so."""
    devices = (facts("d1"), unsure())
    approval = Approval(stage=0, who="ann", why="no traffic", devices=("d2",))

    assert verdict(*devices, overdue=True).decision is Decision.HOLD
    found = verdict(*devices, overdue=True, promote_untested=True)
    assert found.decision is Decision.PROMOTE
    assert verdict(*devices, promote_untested=True).decision is Decision.HOLD
    assert verdict(*devices, approvals=(approval,)).decision is Decision.PROMOTE
    more = (*devices, unsure("d3"))
    assert verdict(*more, approvals=(approval,)).decision is Decision.HOLD


def test_each_hardware_class_needs_a_conclusive_device() -> None:
    """Success on one class says nothing of another."""
    x86, armv7 = facts("d1", hardware="x86"), unsure(hardware="armv7")
    only_device = Approval(stage=0, who="ann", why="?", devices=("d2",))
    both = replace(only_device, classes=("armv7",))

    assert verdict(x86, armv7, approvals=(only_device,)).decision is Decision.HOLD
    assert verdict(x86, armv7, approvals=(both,)).decision is Decision.PROMOTE
    good = facts("d2", hardware="armv7", evidence="conclusive")
    assert verdict(x86, good).decision is Decision.PROMOTE


def test_a_first_release_is_shown_as_untested_on_live_input() -> None:
    """It has nothing to be compared with, so it promotes, and says so."""
    found = verdict(facts(evidence="untested"))

    assert found.decision is Decision.PROMOTE
    assert "1 of them untested on live input" in found.reason


def test_silence_holds_and_becomes_failure_beyond_the_control_group() -> None:
    """Past the deadline it counts only if the rest of the fleet is less silent."""
    silent = facts("d2", online=False, outcome="", release=1)
    control = facts("d3", assigned_seq=0)
    control_away = facts("d3", assigned_seq=0, online=False)

    assert verdict(facts("d1"), silent, control).decision is Decision.HOLD
    found = verdict(facts("d1"), silent, control, overdue=True)
    assert found.decision is Decision.ABORT
    found = verdict(facts("d1"), silent, control_away, overdue=True)
    assert found.decision is Decision.PROMOTE


def test_devices_with_labels_must_deliver_some_for_the_candidate() -> None:
    """Few comparable labels hold; where enough came, one device decides nothing."""
    found = verdict(facts(), cells=[cell((8, 10), (80, 100))])
    assert found.decision is Decision.HOLD
    assert "10 of 40 comparable labels" in found.reason
    found = verdict(facts(), cells=[cell((6, 40), (160, 200))])
    assert found.decision is Decision.PROMOTE


def losses(*means: float, error: float = 0.01) -> list[DeviceLoss]:
    """Return losses of devices with 300 labelled pairs each."""
    return [
        DeviceLoss(device=f"d{n}", n=300, blocks=100, loss=mean, error=error)
        for n, mean in enumerate(means)
    ]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (losses(0.0, 0.01, -0.01, 0.0), Decision.PROMOTE),
        (losses(0.10, 0.11, 0.09, 0.10), Decision.ABORT),
        (losses(0.04, 0.05, 0.03, 0.04), Decision.HOLD),
        (losses(0.0, 0.0, 0.0, 0.0, error=0.1), Decision.HOLD),
        (losses(0.5, 0.5, 0.5), Decision.PROMOTE),
        (losses(0.0, 0.0, -0.45, -0.45), Decision.PROMOTE),
        (losses(1.0, 0.0, 0.0, 0.0), Decision.HOLD),
    ],
    ids=[
        "equal",
        "ten points worse",
        "between the limits",
        "uncertain within the devices",
        "three devices decide nothing",
        "a repair's gains are no uncertainty",
        "one device that lies aborts nothing",
    ],
)
def test_labels_decide_by_bounds_over_devices(
    found: list[DeviceLoss], expected: Decision
) -> None:
    """The upper bound promotes, the lower one aborts, in between it holds."""
    assert verdict(facts(), losses=found).decision is expected


def test_without_min_labels_they_only_stop_a_release() -> None:
    """An operator can keep labels from holding anything."""
    found = verdict(facts(), losses=losses(0.04, 0.05, 0.03, 0.04), min_labels=0)
    assert found.decision is Decision.PROMOTE
    found = verdict(facts(), losses=losses(0.1, 0.1, 0.1, 0.1), min_labels=0)
    assert found.decision is Decision.ABORT


def test_labels_that_are_not_sure_can_be_approved() -> None:
    """A person settles them for one stage."""
    unsure_labels = losses(0.04, 0.05, 0.03, 0.04)
    approval = Approval(stage=0, who="ann", why="known", labels=True)

    found = verdict(facts(), losses=unsure_labels, overdue=True)
    assert "--approve" in found.reason
    found = verdict(facts(), losses=unsure_labels, approvals=(approval,))
    assert found.decision is Decision.PROMOTE


def test_other_movements_are_no_evidence_against_a_release() -> None:
    """Only labels that the incumbent has met on the same device are compared."""
    hard = LabelCell(
        device="d1",
        label="hard",
        candidate_n=100,
        candidate_correct=0,
        incumbent_n=0,
        incumbent_correct=0,
    )
    (found,) = measure_cells([hard, cell((32, 40), (160, 200))])

    assert (found.n, round(found.loss, 6)) == (40, 0.0)

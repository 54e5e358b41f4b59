"""The gate's truth table: no data holds, one failure aborts, labels decide."""

from typing import Any

import pytest

from hub.rollout.judge import (
    Decision,
    DeviceFacts,
    LabelCell,
    Outcome,
    Verdict,
    compare,
    judge,
    outcome_of,
)
from hub.rollout.plan import Plan

PLAN = Plan(
    stages=(0.5, 1.0),
    max_failures=0,
    min_labels=40,
    accuracy_drop_max=0.1,
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
    *devices: DeviceFacts, cells: list[LabelCell] | None = None, overdue: bool = False
) -> Verdict:
    """Judge with the plan of this file."""
    return judge(list(devices), cells or [], PLAN, candidate=2, overdue=overdue)


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


def test_one_failure_too_many_aborts_and_names_the_device() -> None:
    """The reason says which device failed and with which code."""
    failed = facts("d2", release=1, outcome="rolled_back", code="AGENT-UPDATE-012")
    found = verdict(facts("d1"), failed)

    assert found.decision is Decision.ABORT
    assert "d2 AGENT-UPDATE-012" in found.reason


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
    """Few comparable labels hold, enough good ones promote."""
    assert verdict(facts(), cells=[cell((8, 10), (80, 100))]).decision is Decision.HOLD
    found = verdict(facts(), cells=[cell((32, 40), (80, 100))])
    assert found.decision is Decision.PROMOTE


def test_garbage_aborts_on_labels() -> None:
    """A model that guesses among seven is stopped by forty labels."""
    found = verdict(facts(), cells=[cell((6, 40), (160, 200))])

    assert found.decision is Decision.ABORT
    assert "0.15 against" in found.reason


def test_a_small_drop_is_not_sure_yet() -> None:
    """A drop beyond the limit that chance explains holds instead of aborting."""
    found = verdict(facts(), cells=[cell((26, 40), (160, 200))])

    assert found.decision is Decision.HOLD


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
    found = compare([hard, cell((32, 40), (160, 200))])

    assert (found.n, round(found.drop, 6)) == (40, 0.0)

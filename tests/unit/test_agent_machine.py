"""The activation machine: the table is complete, the step is pure, nothing loops."""

from dataclasses import replace

import pytest
from msgspec import UNSET

from edge_agent.store.slots import Figures, Slots
from edge_agent.update.machine import (
    LOOPED,
    MAX_TRANSITIONS,
    QUARANTINED,
    Effect,
    Happened,
    Report,
    Work,
    step,
)
from edge_agent.update.states import AT_REST, DEADLINES_S, TRANSITIONS, Event, Phase
from edge_agent.wire.control import Assignment, ShadowPolicy

OK = Happened(event=Event.OK)
FAIL = Happened(event=Event.FAIL, code="AGENT-UPDATE-041", detail="off by 0.5")
BUSY = [phase for phase in Phase if phase not in AT_REST]
AFTER_THE_SWAP = [Phase.ACTIVATE, Phase.PROBATION, Phase.COMMIT, Phase.ROLLBACK]
RUNNING = Slots(active=1, seq=1, committed=(1,))


def assign(release: int, seq: int, *, forced: bool = False) -> Happened:
    """Return the arrival of an assignment that asks for a shadow."""
    assignment = Assignment(
        device="d1",
        seq=seq,
        release=release,
        target=f"models/watch/{release}/release.json",
        rollout="r",
        issued_at=1.0,
        artifacts_url="http://hub",
        shadow=ShadowPolicy(),
        forced=forced or UNSET,
    )
    return Happened(event=Event.ASSIGN, assignment=assignment)


def follow(state: Slots, *happened: Happened) -> tuple[Slots, list[Effect]]:
    """Take many steps; return the last state and all effects."""
    seen: list[Effect] = []
    for one in happened:
        state, effects = step(state, one)
        seen += effects
    return state, seen


def at(phase: Phase, *, start: Slots = RUNNING) -> Slots:
    """Return a state in a phase of trying release 2."""
    way = {
        Phase.FETCH_META: 0,
        Phase.DOWNLOAD: 1,
        Phase.VERIFY: 2,
        Phase.SELF_TEST: 3,
        Phase.SHADOW: 4,
        Phase.ACTIVATE: 5 if start.active else 4,
        Phase.PROBATION: 6 if start.active else 5,
        Phase.COMMIT: 7,
    }
    if phase is Phase.ROLLBACK:
        return follow(at(Phase.PROBATION, start=start), FAIL)[0]
    return follow(start, assign(2, 2), *[OK] * way[phase])[0]


def ends(effects: list[Effect]) -> list[tuple[str, str]]:
    """Return outcome and code of the reports that end an activation."""
    return [(e.outcome, e.code) for e in effects if isinstance(e, Report) and e.outcome]


@pytest.mark.parametrize("phase", BUSY)
def test_every_phase_has_a_deadline_and_ways_out(phase: Phase) -> None:
    """No phase but those at rest can last for ever."""
    assert DEADLINES_S[phase] > 0
    for event in (Event.OK, Event.FAIL, Event.TIMEOUT, Event.RESTART):
        assert (phase, event) in TRANSITIONS
    assert TRANSITIONS[phase, Event.TIMEOUT] is not phase


def test_every_phase_can_be_reached_and_left() -> None:
    """From rest every phase is reached, and from every phase rest."""
    reached, todo = {Phase.IDLE}, [Phase.IDLE]
    while todo:
        here = todo.pop()
        for (phase, _), after in TRANSITIONS.items():
            if phase is here and after not in reached:
                reached.add(after)
                todo.append(after)

    assert reached == set(Phase)


def test_good_release_is_committed() -> None:
    """Success is reported once, by the step that leaves COMMIT."""
    state, effects = follow(RUNNING, assign(2, 2), *[OK] * 8)

    assert (state.phase, state.active, state.previous) == ("IDLE", 2, 1)
    assert state.committed == (1, 2)
    assert ends(effects) == [("committed", "")]
    assert isinstance(effects[-1], Report)


def test_step_is_pure() -> None:
    """The same state and event give the same answer and change nothing."""
    before = at(Phase.SELF_TEST)
    kept = replace(before)

    assert step(before, OK) == step(before, OK)
    assert before == kept


def test_swap_is_one_step() -> None:
    """The slots and the phase change together, with the baseline."""
    baseline = Figures(release=1, predictions=50)
    state, effects = step(at(Phase.SHADOW), Happened(event=Event.OK, baseline=baseline))

    assert (state.active, state.previous, state.attempts) == (2, 1, 1)
    assert state.baseline == baseline
    assert effects[-1] == Work(phase=Phase.ACTIVATE)


@pytest.mark.parametrize(
    "phase", [phase for phase in BUSY if phase not in AFTER_THE_SWAP]
)
@pytest.mark.parametrize("event", [Event.FAIL, Event.TIMEOUT])
def test_early_failure_leaves_the_active_release(phase: Phase, event: Event) -> None:
    """Before the swap a failure only ends the attempt."""
    state, effects = follow(at(phase), replace(FAIL, event=event))

    assert (state.phase, state.active, state.previous) == ("IDLE", 1, 0)
    assert ends(effects) == [("failed", "AGENT-UPDATE-041")]


def test_failed_self_test_quarantines() -> None:
    """What failed its self-test is not tried again; what timed out may be."""
    failed, _ = step(at(Phase.SELF_TEST), FAIL)
    late, _ = step(at(Phase.SELF_TEST), Happened(event=Event.TIMEOUT))

    assert failed.quarantined == (2,)
    assert late.quarantined == ()
    state, effects = follow(failed, assign(2, 3))
    assert (state.phase, state.seq) == ("IDLE", 3)
    assert ends(effects) == [("rejected", QUARANTINED)]


@pytest.mark.parametrize("phase", [Phase.ACTIVATE, Phase.PROBATION])
@pytest.mark.parametrize("event", [Event.FAIL, Event.TIMEOUT, Event.CRASH])
def test_late_failure_rolls_back(phase: Phase, event: Event) -> None:
    """After the swap the previous release comes back and the new one is quarantined."""
    state, effects = follow(at(phase), Happened(event=event), OK)

    assert (state.phase, state.active, state.quarantined) == ("IDLE", 1, (2,))
    assert ends(effects)[0][0] == "rolled_back"
    assert ends(effects)[0][1]


def test_first_release_that_fails_leaves_telemetry_only() -> None:
    """Without a release before and a factory model there is nothing to go back to."""
    state, effects = follow(at(Phase.PROBATION, start=Slots()), FAIL, FAIL)

    assert (state.phase, state.active) == ("SAFE_MODE", 0)
    assert ends(effects) == [("rolled_back", "AGENT-UPDATE-041")]
    assert effects[-1] == Work(phase=Phase.SAFE_MODE)
    again, _ = follow(state, assign(3, 3), *[OK] * 7)
    assert (again.phase, again.active) == ("IDLE", 3)


def test_failed_rollback_ends_in_safe_mode() -> None:
    """If the previous release does not load either, the device keeps reporting."""
    state, effects = follow(at(Phase.ROLLBACK), FAIL)

    assert (state.phase, state.active) == ("SAFE_MODE", 0)
    assert ends(effects) == [("rolled_back", "AGENT-UPDATE-041")]


@pytest.mark.parametrize(
    "phase", [phase for phase in BUSY if phase not in AFTER_THE_SWAP]
)
def test_newer_assignment_supersedes(phase: Phase) -> None:
    """Until the swap the newest assignment starts over at once."""
    state, effects = follow(at(phase), assign(3, 3))

    assert (state.phase, state.candidate, state.seq) == ("FETCH_META", 3, 3)
    assert effects[-1] == Work(phase=Phase.FETCH_META)


@pytest.mark.parametrize("phase", AFTER_THE_SWAP)
def test_newer_assignment_waits_after_the_swap(phase: Phase) -> None:
    """From the swap on an activation is finished first."""
    before = at(phase)

    assert step(before, assign(3, 3)) == (before, ())


@pytest.mark.parametrize("seq", [0, 1])
def test_old_assignment_is_ignored(seq: int) -> None:
    """A sequence number that was seen changes nothing."""
    assert step(RUNNING, assign(2, seq)) == (RUNNING, ())


def test_assignment_of_the_active_release() -> None:
    """What runs and is committed is confirmed at once."""
    state, effects = follow(RUNNING, assign(1, 9))

    assert (state.phase, state.seq, state.active) == ("IDLE", 9, 1)
    assert ends(effects) == [("committed", "")]


def test_committed_release_is_never_quarantined() -> None:
    """Going back to a release that once held may fail without condemning it."""
    newer, _ = follow(RUNNING, assign(2, 2), *[OK] * 8)
    state, _ = follow(newer, assign(1, 3), *[OK] * 5, FAIL, OK)

    assert (state.active, state.quarantined) == (2, ())


@pytest.mark.parametrize("phase", BUSY)
def test_restart_goes_on(phase: Phase) -> None:
    """After a crash the phase's work is done again."""
    state, effects = follow(at(phase), Happened(event=Event.RESTART))

    resumed = Phase.ACTIVATE if phase is Phase.PROBATION else phase
    assert effects[-1] == Work(phase=resumed)
    assert state.active == at(phase).active


def test_third_load_is_refused() -> None:
    """A release that keeps taking the device down is rolled back at a restart."""
    restart = Happened(event=Event.RESTART)
    state, _ = follow(at(Phase.ACTIVATE), restart, restart)

    assert (state.phase, state.active, state.code) == ("ROLLBACK", 1, LOOPED)


def test_transitions_are_limited() -> None:
    """A phase that restarts for ever ends the attempt."""
    state = at(Phase.DOWNLOAD)
    for _ in range(MAX_TRANSITIONS):
        state, _ = step(state, Happened(event=Event.RESTART))

    assert (state.phase, state.code, state.active) == ("IDLE", LOOPED, 1)


@pytest.mark.parametrize("phase", list(AT_REST))
@pytest.mark.parametrize("event", [Event.OK, Event.FAIL, Event.TIMEOUT, Event.RESTART])
def test_nothing_happens_at_rest(phase: Phase, event: Event) -> None:
    """At rest only an assignment, a crash loop or the factory model means anything."""
    state = replace(RUNNING, phase=phase)
    after, effects = step(state, Happened(event=event))

    if phase is Phase.SAFE_MODE and event is Event.OK:
        assert after.phase == "IDLE"
    elif phase is Phase.SAFE_MODE and event is Event.RESTART:
        assert effects == (Work(phase=phase),)
    else:
        assert (after, effects) == (state, ())

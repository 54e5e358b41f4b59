"""The machine's shadow, its penalty box and its factory model, event by event."""

from dataclasses import replace

import pytest
from msgspec import UNSET

from edge_agent.store.slots import Slots
from edge_agent.update.machine import (
    CRASHED_IN_SHADOW,
    LOOPED,
    MAX_TESTS,
    Effect,
    Happened,
    Report,
    Work,
    step,
)
from edge_agent.update.penalty import PENALTY_S, WINDOW_S, penalty_until
from edge_agent.update.states import Event, Phase
from edge_agent.wire.control import Assignment, PairedPolicy, ShadowPolicy
from edge_agent.wire.records import PairedSummary, ShadowSummary

OK = Happened(event=Event.OK)
RUNNING = Slots(active=1, seq=1, committed=(1,))
SUMMARY = ShadowSummary(release=2, n=40, disagreement_ratio=0.5)


def assign(  # noqa: PLR0913 - each makes another kind of assignment
    release: int,
    seq: int,
    at: float = 0.0,
    *,
    shadow: bool = True,
    paired: bool = False,
    forced: bool = False,
) -> Happened:
    """Return the arrival of an assignment."""
    assignment = Assignment(
        device="d1",
        seq=seq,
        release=release,
        target=f"models/watch/{release}/release.json",
        rollout="r",
        issued_at=1.0,
        artifacts_url="http://hub",
        shadow=ShadowPolicy() if shadow else UNSET,
        paired=PairedPolicy() if paired else UNSET,
        forced=True if forced else UNSET,
    )
    return Happened(event=Event.ASSIGN, at=at, assignment=assignment)


def follow(state: Slots, *happened: Happened) -> tuple[Slots, list[Effect]]:
    """Take many steps; return the last state and all effects."""
    seen: list[Effect] = []
    for one in happened:
        state, effects = step(state, one)
        seen += effects
    return state, seen


def fail(at: float) -> Happened:
    """Return a failure at a time."""
    return Happened(event=Event.FAIL, at=at, code="AGENT-UPDATE-070", shadow=SUMMARY)


PAIRED = PairedSummary(release=2, incumbent=1, result="ok", source="ring", n=99)
IN_SHADOW = follow(RUNNING, assign(2, 2), *[OK] * 4)[0]


def phases_of(state: Slots, *happened: Happened) -> list[Phase]:
    """Return the phases whose work is to be done along the way."""
    return [e.phase for e in follow(state, *happened)[1] if isinstance(e, Work)]


def test_shadow_lies_between_self_test_and_activation() -> None:
    """A release that shall be tried runs beside the active one, which stays."""
    assert (IN_SHADOW.phase, IN_SHADOW.active, IN_SHADOW.candidate) == ("SHADOW", 1, 2)

    activated, effects = step(IN_SHADOW, replace(OK, shadow=SUMMARY))

    assert (activated.phase, activated.active, activated.attempts) == ("ACTIVATE", 2, 1)
    assert isinstance(effects[0], Report)
    assert effects[0].shadow == SUMMARY


@pytest.mark.parametrize(
    ("start", "happened"),
    [
        (RUNNING, assign(2, 2, shadow=False)),
        (Slots(), assign(2, 2)),
        (replace(RUNNING, active=3, committed=(1, 2, 3)), assign(2, 2)),
    ],
    ids=["not asked for", "nothing to run beside", "committed here before"],
)
def test_shadow_is_skipped(start: Slots, happened: Happened) -> None:
    """Only what is new to a device with a release goes through it, if that is asked."""
    assert Phase.SHADOW not in phases_of(start, happened, *[OK] * 5)


@pytest.mark.parametrize(("shadow", "paired"), [(True, False), (False, True)])
def test_either_policy_asks_for_a_comparison(*, shadow: bool, paired: bool) -> None:
    """A hub that knows of the live shadow only gets the paired test as well."""
    happened = assign(2, 2, shadow=shadow, paired=paired)

    assert phases_of(RUNNING, happened, *[OK] * 4)[-1] is Phase.SHADOW


def test_the_summary_of_the_paired_test_is_told_once_and_kept() -> None:
    """The record that leaves SHADOW has it, and the state until the next swap."""
    activated, effects = step(IN_SHADOW, replace(OK, paired=PAIRED))
    failed, ended = step(IN_SHADOW, replace(fail(1.0), paired=PAIRED))

    assert activated.paired == PAIRED
    assert isinstance(effects[0], Report)
    assert effects[0].paired == PAIRED
    assert isinstance(ended[0], Report)
    assert ended[0].paired == PAIRED
    assert failed.paired is None, "it is not about the release that goes on"
    back, _ = follow(activated, OK, replace(fail(1.0), paired=None))
    assert (back.phase, back.paired) == ("ROLLBACK", None)


def test_a_commit_tells_what_it_rests_on() -> None:
    """Evidence and numbers outlast a restart, and are told by the record of the end."""
    passed = Happened(
        event=Event.OK, evidence="inconclusive", answered=12, detail="12 of 60"
    )
    before, _ = follow(IN_SHADOW, replace(OK, paired=PAIRED), OK, passed)
    again, _ = step(before, Happened(event=Event.RESTART))
    rest, effects = step(again, OK)

    assert (before.phase, again.phase, rest.phase) == ("COMMIT", "COMMIT", "IDLE")
    (report,) = effects
    assert isinstance(report, Report)
    assert (report.outcome, report.code) == ("committed", "")
    assert (report.evidence, report.detail) == ("inconclusive", "12 of 60")
    assert (rest.evidence, rest.answered) == ("inconclusive", 12)

    confirmed, told = step(rest, assign(2, 9))
    assert isinstance(told[0], Report)
    assert (told[0].evidence, confirmed.evidence) == ("inconclusive", "inconclusive")
    activated, _ = follow(rest, assign(3, 9), *[OK] * 5)
    assert (activated.active, activated.evidence, activated.answered) == (3, "", 0)


@pytest.mark.parametrize("event", [Event.FAIL, Event.CRASH])
def test_breach_in_shadow_quarantines_and_touches_nothing(event: Event) -> None:
    """A candidate that failed beside the active release never becomes active."""
    state, effects = step(IN_SHADOW, replace(fail(9.0), event=event, code=""))

    assert (state.phase, state.active, state.previous) == ("IDLE", 1, 0)
    assert (state.quarantined, state.failed_at) == ((2,), (9.0,))
    report, work = effects
    assert isinstance(report, Report)
    assert (report.outcome, report.shadow) == ("failed", SUMMARY)
    assert (report.code == CRASHED_IN_SHADOW) == (event is Event.CRASH)
    assert work == Work(phase=Phase.IDLE), "the worker must drop it"


def test_mute_worker_in_shadow_condemns_nobody() -> None:
    """A shadow that ends by its deadline failed without fault of the release."""
    state, _ = step(IN_SHADOW, Happened(event=Event.TIMEOUT))

    assert (state.phase, state.quarantined, state.failed_at) == ("IDLE", (), ())


def test_crash_of_another_release_is_ignored() -> None:
    """A crash loop is of what the worker ran, not of what it runs by now."""
    assert step(IN_SHADOW, Happened(event=Event.CRASH, release=1)) == (IN_SHADOW, ())
    idle = replace(RUNNING, previous=3)
    assert step(idle, Happened(event=Event.CRASH, release=2)) == (idle, ())


def test_shadow_that_takes_the_device_down_is_given_up() -> None:
    """Loads in shadow are counted as those of an activation are."""
    restart = Happened(event=Event.RESTART)
    state, effects = follow(IN_SHADOW, restart, restart)

    assert (state.phase, state.code, state.quarantined) == ("IDLE", LOOPED, (2,))
    assert Work(phase=Phase.SHADOW) in effects


@pytest.mark.parametrize("release", [1, 3])
def test_newer_assignment_ends_the_shadow(release: int) -> None:
    """Whatever comes instead, the worker is told to drop what ran beside."""
    state, effects = step(IN_SHADOW, assign(release, 9))

    assert state.phase == ("IDLE" if release == 1 else "FETCH_META")
    assert isinstance(effects[-1], Work)


def test_two_failures_in_a_day_close_the_box() -> None:
    """A device on which two releases failed takes up no third one for a day."""
    twice, _ = follow(IN_SHADOW, fail(100.0), assign(3, 3), *[OK] * 4, fail(200.0))
    assert penalty_until(twice, 201.0) == 200.0 + PENALTY_S

    assert step(twice, assign(4, 4, at=300.0)) == (twice, ())
    assert step(twice, assign(4, 4, at=300.0, forced=True))[0].phase == "FETCH_META"
    assert step(twice, assign(1, 4, at=300.0))[1], "what runs is confirmed"
    assert step(twice, assign(4, 4, at=201.0 + PENALTY_S))[0].phase == "FETCH_META"


def test_rollback_is_taken_up_from_the_box() -> None:
    """What was once committed here is never held back."""
    boxed = replace(RUNNING, active=2, committed=(1, 2), failed_at=(1.0, 2.0))

    assert step(boxed, assign(1, 5, at=3.0))[0].phase == "FETCH_META"


@pytest.mark.parametrize(
    ("failed_at", "now"),
    [
        ((10.0,), 11.0),
        ((10.0, 11.0 + WINDOW_S), 12.0 + WINDOW_S),
        ((2e9, 2e9 + 5), 1e9),
        ((2e9, 1e9), 1e9 + 1),
    ],
    ids=["once", "a day apart", "by a clock that was wrong", "before it was set"],
)
def test_box_stays_open(failed_at: tuple[float, ...], now: float) -> None:
    """One failure, two far apart, or times that cannot be right hold nothing back."""
    assert penalty_until(replace(RUNNING, failed_at=failed_at), now) == 0.0


def test_force_overrides_the_quarantine() -> None:
    """A release that failed here is tried once more, and condemned anew if it fails."""
    failed = replace(RUNNING, quarantined=(2,))

    state, _ = follow(failed, assign(2, 2, forced=True), *[OK] * 4)
    assert (state.phase, state.quarantined) == ("SHADOW", ())
    again, _ = step(state, fail(1.0))
    assert again.quarantined == (2,)


def test_factory_model_ends_safe_mode() -> None:
    """Where the factory model answers, a device is at rest without a release."""
    safe = Slots(phase="SAFE_MODE", quarantined=(2,))
    state, effects = step(safe, OK)

    assert (state.phase, state.active) == ("IDLE", 0)
    assert [type(effect) for effect in effects] == [Report]


def test_rollback_to_the_factory_model() -> None:
    """A first release that fails goes back to the factory model, where there is one."""
    way = [assign(2, 2), *[OK] * 5]
    state, effects = follow(Slots(), *way, fail(1.0), OK)

    assert (state.phase, state.active, state.quarantined) == ("IDLE", 0, (2,))
    assert isinstance(effects[-1], Report)
    assert effects[-1].outcome == "rolled_back"


def test_restarts_during_a_paired_test_are_not_held_against_the_release() -> None:
    """After a few tests that were cut short it is activated, without evidence."""
    testing, _ = follow(RUNNING, assign(2, 2, shadow=False, paired=True), *[OK] * 4)
    assert testing.phase == Phase.SHADOW
    for _ in range(MAX_TESTS - 1):
        testing, _ = step(testing, Happened(event=Event.RESTART))
        assert testing.phase == Phase.SHADOW

    activated, effects = step(testing, Happened(event=Event.RESTART))

    assert (activated.phase, activated.active, activated.previous) == ("ACTIVATE", 2, 1)
    assert (activated.quarantined, activated.failed_at) == ((), ())
    assert activated.paired is not None
    assert activated.paired.result == "inconclusive"
    assert any(isinstance(e, Report) and e.paired is not None for e in effects)

"""Pin, unpin and roll back: what a person's wish makes of the journal."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.errors import UpdateError
from edge_agent.store.slots import Slots
from edge_agent.update.desk import (
    BUSY,
    NO_PREVIOUS,
    REVERTED,
    WISH,
    Action,
    Desk,
    Wish,
    WishError,
    put_wish,
    read_reply,
)
from edge_agent.update.machine import Happened, Report, Work, step
from edge_agent.update.states import AT_REST, Event, Phase
from edge_agent.update.wishes import pin, revert
from edge_agent.wire.control import Assignment

RUNNING = Slots(active=2, previous=1, seq=2, committed=(1, 2))
ID = "0123456789abcdef"


def _assign(release: int, seq: int, *, forced: bool = False) -> Happened:
    assignment = Assignment(
        device="d1",
        seq=seq,
        release=release,
        target=f"models/watch/{release}/release.json",
        rollout="r",
        issued_at=1.0,
        artifacts_url="http://hub",
        forced=forced,
    )
    return Happened(event=Event.ASSIGN, assignment=assignment)


def test_a_rollback_swaps_disowns_and_reports() -> None:
    """The one before is active; the other is unwanted, but no failure is counted."""
    state, effects = step(RUNNING, revert(RUNNING))
    assert (state.phase, state.active, state.previous) == (Phase.ROLLBACK, 1, 0)
    assert (state.committed, state.quarantined) == ((1,), (2,))
    assert state.failed_at == ()
    assert Work(phase=Phase.ROLLBACK) in effects
    state, effects = step(state, Happened(event=Event.OK))
    (report,) = [e for e in effects if isinstance(e, Report)]
    assert (report.release, report.outcome, report.code) == (2, "rolled_back", REVERTED)
    assert state.phase == Phase.IDLE


def test_what_was_sent_back_comes_again_by_force_only() -> None:
    """The hub may repeat itself in vain; a forced assignment is meant."""
    state, _ = step(RUNNING, revert(RUNNING))
    state, _ = step(state, Happened(event=Event.OK))
    refused, effects = step(state, _assign(2, 3))
    assert [e.outcome for e in effects if isinstance(e, Report)] == ["rejected"]
    assert refused.active == 1
    forced, _ = step(refused, _assign(2, 4, forced=True))
    assert forced.phase == Phase.FETCH_META


def test_a_release_on_probation_can_be_sent_back() -> None:
    """It need not be over before a person may say no."""
    tried = replace(RUNNING, phase=Phase.PROBATION, committed=(1,), candidate=2)
    state, _ = step(tried, revert(tried))
    assert (state.phase, state.active, state.quarantined) == (Phase.ROLLBACK, 1, (2,))


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (replace(RUNNING, previous=0), NO_PREVIOUS),
        (replace(RUNNING, active=0, previous=0), NO_PREVIOUS),
        (replace(RUNNING, phase=Phase.DOWNLOAD, candidate=3), BUSY),
        (replace(RUNNING, phase=Phase.COMMIT, candidate=2), BUSY),
        (replace(RUNNING, phase=Phase.ROLLBACK, candidate=2), BUSY),
    ],
)
def test_a_rollback_that_cannot_be_is_refused(state: Slots, code: str) -> None:
    """Nothing to go back to, or something under way."""
    with pytest.raises(WishError) as caught:
        revert(state)
    assert caught.value.code == code


def test_a_pinned_device_takes_no_other_release() -> None:
    """Not even a forced one; the present one is acknowledged; unpinned, it follows."""
    pinned, (event,) = pin(RUNNING, Action.PIN, 5.0)
    assert event.facts == {"pinned": "true", "release": "2"}
    assert step(pinned, _assign(3, 3)) == (pinned, ())
    assert step(pinned, _assign(3, 3, forced=True)) == (pinned, ())
    same, _ = step(pinned, _assign(2, 3))
    assert (same.seq, same.active, same.pinned) == (3, 2, True)
    free, (event,) = pin(pinned, Action.UNPIN, 6.0)
    assert event.facts["pinned"] == "false"
    assert step(free, _assign(3, 3))[0].phase == Phase.FETCH_META


def test_pinning_twice_tells_once() -> None:
    """The second time nothing changes, and nobody is told."""
    pinned, _ = pin(RUNNING, Action.PIN, 5.0)
    assert pin(pinned, Action.PIN, 6.0) == (pinned, [])
    assert pin(RUNNING, Action.UNPIN, 6.0) == (RUNNING, [])


def test_a_pin_holds_nothing_that_saves_the_device() -> None:
    """A crash loop still goes back to the release before."""
    pinned, _ = pin(RUNNING, Action.PIN, 5.0)
    state, _ = step(pinned, Happened(event=Event.CRASH, release=2))
    assert (state.phase, state.active, state.pinned) == (Phase.ROLLBACK, 1, True)


@pytest.mark.parametrize("phase", [p for p in Phase if p not in AT_REST])
def test_a_pin_while_an_update_is_under_way_is_refused(phase: Phase) -> None:
    """Nobody knows yet what would be kept."""
    with pytest.raises(WishError) as caught:
        pin(replace(RUNNING, phase=phase), Action.PIN, 5.0)
    assert caught.value.code == BUSY


class _Obliging:
    """Notes wishes; refuses, or dies, when it is told to."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.done: list[Action] = []
        self._fault = fault

    def on_wish(self, action: Action) -> None:
        self.done.append(action)
        if self._fault is not None:
            raise self._fault


def test_a_wish_is_carried_out_once_and_answered(tmp_path: Path) -> None:
    """The second look finds nothing; the answer names the wish."""
    desk, obliging = Desk(tmp_path), _Obliging()
    put_wish(tmp_path, Wish(id=ID, action=Action.PIN))
    assert desk.has_wish()
    for _ in range(2):
        desk.look(obliging)
    assert obliging.done == [Action.PIN]
    reply = read_reply(tmp_path, ID)
    assert reply is not None
    assert reply.code == ""
    assert read_reply(tmp_path, "f" * 16) is None


def test_a_refusal_is_answered_with_its_cure(tmp_path: Path) -> None:
    """The person sees the same text as the log."""
    fault = WishError(BUSY, "under way", cure="wait")
    put_wish(tmp_path, Wish(id=ID, action=Action.ROLLBACK))
    Desk(tmp_path).look(_Obliging(fault))
    reply = read_reply(tmp_path, ID)
    assert reply is not None
    assert (reply.code, reply.text, reply.cure) == (BUSY, "under way", "wait")


def test_a_wish_is_never_carried_out_twice(tmp_path: Path) -> None:
    """An agent that dies at it finds no wish at its next start."""
    put_wish(tmp_path, Wish(id=ID, action=Action.ROLLBACK))
    with pytest.raises(KeyboardInterrupt):
        Desk(tmp_path).look(_Obliging(KeyboardInterrupt()))  # type: ignore[arg-type]
    obliging = _Obliging()
    Desk(tmp_path).look(obliging)
    assert obliging.done == []


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"id":"x","action":"format"}'])
def test_what_is_no_wish_is_dropped(tmp_path: Path, data: bytes) -> None:
    """It does not come again and again."""
    (tmp_path / WISH).write_bytes(data)
    obliging = _Obliging(UpdateError("AGENT-UPDATE-097", "never"))
    Desk(tmp_path).look(obliging)
    assert obliging.done == []
    assert not (tmp_path / WISH).exists()

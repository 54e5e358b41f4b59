"""The inbox: whole offers, one at a time, kept until they are carried out."""

import fcntl
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.errors import UpdateError
from edge_agent.store.slots import Slots
from edge_agent.update.inbox import (
    LOCK,
    Inbox,
    InboxBusyError,
    Offer,
    put_offer,
    read_answer,
)
from edge_agent.wire.control import Assignment, TufBundle
from edge_agent.wire.envelope import Envelope

FIRST, SECOND = "1" * 16, "2" * 16


class Taker:
    """Takes every offer as the assignment of a number; ``error`` refuses it."""

    def __init__(self) -> None:
        """Begin at rest, with nothing."""
        self.state = Slots()
        self.took: list[int] = []
        self.error: UpdateError | None = None
        self.holds = False

    def on_folder(self, bundle: TufBundle, envelope: Envelope) -> Assignment:
        """Take it up."""
        del bundle
        if self.error is not None:
            raise self.error
        seq = int(envelope.payload)
        self.took.append(seq)
        if not self.holds:
            self.state = replace(self.state, seq=seq, phase="DOWNLOAD")
        return Assignment(
            device="d1",
            seq=seq,
            release=1,
            target="t",
            rollout="",
            issued_at=1.0,
            artifacts_url="",
        )


def offer(number: str, seq: int) -> Offer:
    """Return an offer whose envelope says just a number."""
    envelope = Envelope(payload=str(seq), keyid="a" * 64, sig="ab")
    return Offer(id=number, bundle=TufBundle(files={}), assignment=envelope)


def brought(tmp_path: Path) -> dict[str, Path]:
    """Return a file to bring."""
    path = tmp_path / "file"
    path.write_bytes(b"data")
    return {"f" * 64: path}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state folder."""
    return tmp_path / "state"


def test_an_offer_stays_until_its_activation_has_ended(
    state: Path, tmp_path: Path
) -> None:
    """Taken up once, its artifacts are there until the machine is at rest."""
    put_offer(state, offer(FIRST, 3), brought(tmp_path))
    taker, inbox = Taker(), Inbox(state)
    assert inbox.has_news()

    for _ in range(3):
        inbox.look(taker)
    during = [path.read_bytes() for path in inbox.artifacts.iterdir()]
    taker.state = replace(taker.state, phase="IDLE")
    inbox.look(taker)

    assert taker.took == [3]
    assert during == [b"data"]
    assert not inbox.has_news()
    assert sorted(path.name for path in state.iterdir()) == [
        "inbox-answer.json",
        "inbox.lock",
    ]
    answer = read_answer(state, FIRST)
    assert answer is not None
    assert (answer.state, answer.seq) == ("taken", 3)
    assert read_answer(state, SECOND) is None


def test_a_new_agent_takes_it_up_again(state: Path) -> None:
    """An agent that died in between finds the offer as it was."""
    put_offer(state, offer(FIRST, 3), {})
    Inbox(state).look(Taker())

    taker = Taker()
    Inbox(state).look(taker)

    assert taker.took == [3]


def test_what_is_refused_is_answered_and_removed(state: Path) -> None:
    """The person reads the code of the check that refused it."""
    put_offer(state, offer(FIRST, 3), {})
    taker, inbox = Taker(), Inbox(state)
    taker.error = UpdateError("AGENT-UPDATE-012", "not signed")

    inbox.look(taker)

    answer = read_answer(state, FIRST)
    assert answer is not None
    assert (answer.state, answer.code) == ("refused", "AGENT-UPDATE-012")
    assert not (state / "inbox").exists()


def test_what_is_held_waits(state: Path) -> None:
    """An offer that is not taken up yet is neither lost nor offered twice."""
    put_offer(state, offer(FIRST, 3), {})
    taker, inbox = Taker(), Inbox(state)
    taker.holds = True

    for _ in range(3):
        inbox.look(taker)

    answer = read_answer(state, FIRST)
    assert answer is not None
    assert answer.state == "held"
    assert (state / "inbox").exists()
    assert taker.took == [3]


def test_a_newer_offer_takes_the_place(state: Path, tmp_path: Path) -> None:
    """The one that was there is gone with its files; the end of it removes nothing."""
    put_offer(state, offer(FIRST, 3), brought(tmp_path))
    taker, inbox = Taker(), Inbox(state)
    inbox.look(taker)
    put_offer(state, offer(SECOND, 4), {})
    taker.state = replace(taker.state, phase="IDLE")

    inbox._remove(FIRST)
    there = (state / "inbox").exists()
    inbox.look(taker)

    assert there
    assert taker.took == [3, 4]
    assert list(inbox.artifacts.iterdir()) == []


def test_two_writers_at_once_are_told(state: Path) -> None:
    """The second is refused, and what the agent would remove stays for now."""
    put_offer(state, offer(FIRST, 3), {})
    taker, inbox = Taker(), Inbox(state)
    inbox.look(taker)
    taker.state = replace(taker.state, phase="IDLE")
    with (state / LOCK).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InboxBusyError, match="AGENT-UPDATE-093"):
            put_offer(state, offer(SECOND, 4), {})
        inbox.look(taker)
        busy = (state / "inbox").exists()
    inbox.look(taker)

    assert busy
    assert not (state / "inbox").exists()


def test_what_a_dead_writer_left_is_removed(state: Path) -> None:
    """Half an offer is none, and does not take up room for ever."""
    (state / "inbox.part" / "artifacts").mkdir(parents=True)
    (state / "inbox.old").mkdir()

    inbox = Inbox(state)

    assert not inbox.has_news()
    assert sorted(path.name for path in state.iterdir()) == ["inbox.lock"]


def test_a_damaged_offer_is_left_alone(state: Path) -> None:
    """What is no offer interrupts nothing and is not looked at again and again."""
    put_offer(state, offer(FIRST, 3), {})
    (state / "inbox" / "offer.json").write_bytes(b"{")
    taker, inbox = Taker(), Inbox(state)

    inbox.look(taker)

    assert taker.took == []
    assert not inbox.has_news()

"""Acks, version 2: nothing is lost on a link that loses, doubles and reorders."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config import OutboxConfig
from edge_agent.link.relay import MAX_RECORDS, WINDOW, Relay
from edge_agent.store.outbox import Outbox
from edge_agent.wire.batch import decode_batch
from edge_agent.wire.control import Ack
from edge_agent.wire.records import EventRecord, UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.model_hub import ModelHub
from tests.fakes.scripted_link import FakeClock, ScriptedLink

BOOT = "a" * 16
OLD = "b" * 16
RESEND_S = 5.0


def event(number: int) -> EventRecord:
    """Return an alert record that carries a number."""
    return EventRecord(at=float(number), code="AGENT-X-001", severity="info", text="")


def update(number: int) -> UpdateRecord:
    """Return a state record that carries a number."""
    return UpdateRecord(
        at=float(number), assignment_seq=1, rollout="", release=1, phase="IDLE"
    )


def rows_of(payload: bytes) -> list[int]:
    """Return the sequence numbers in a batch."""
    return [seq for seq, _ in decode_batch(payload).rows]


class Rig:
    """A relay, a link and a hub around one outbox."""

    def __init__(self, folder: str, *, window: int = 1000) -> None:
        """Wire them up."""
        self.path = Path(folder) / "agent.db"
        self.outbox = Outbox(self.path, BOOT, OutboxConfig())
        self.link = ScriptedLink(window)
        self.clock = FakeClock()
        self.hub = ModelHub()
        self.relay = Relay(
            "d1", self.outbox, self.link, self.clock, resend_after_s=RESEND_S
        )

    def greet(self) -> None:
        """Let the hub answer the questions of a new session."""
        self.relay.pump()
        for payload in self.take():
            self.relay.on_ack(self.hub.take(decode_batch(payload)))

    def take(self) -> list[bytes]:
        """Return what is on the link, which is empty then."""
        payloads = [payload for _, payload in self.link.sent]
        self.link.sent.clear()
        return payloads

    def settle(self) -> None:
        """Let a good link finish."""
        for _ in range(200):
            self.clock.now += RESEND_S / 4
            self.relay.pump()
            for payload in self.take():
                self.relay.on_ack(self.hub.take(decode_batch(payload)))
            if not self.outbox.streams():
                return


@st.composite
def scripts(draw: st.DrawFn, more: tuple[str, ...] = ()) -> list[tuple[str, int]]:
    """Draw what happens: records, time, faults of the link, and ``more``."""
    steps = st.sampled_from(
        [
            "alert",
            "state",
            "pump",
            "deliver",
            "lose",
            "double",
            "swap",
            "ack_lost",
            "late_ack",
            "reconnect",
            "wait",
            *more,
        ]
    )
    return draw(st.lists(st.tuples(steps, st.integers(1, 150)), max_size=60))


class Chaos:
    """Carries out a script."""

    def __init__(self, rig: Rig) -> None:
        """Start with nothing on the way."""
        self.rig = rig
        self.written: dict[Lane, list[int]] = {Lane.ALERT: [], Lane.STATE: []}
        self.number = 0
        self.late: list[Ack] = []
        self.purged = 0

    def do(self, step: str, amount: int) -> None:
        """Carry out one step."""
        rig = self.rig
        if step in {"alert", "state"}:
            self._write(Lane(step), amount)
        elif step == "pump":
            rig.relay.pump()
        elif step == "purge":
            # As the command does it: through a connection of its own.
            other = Outbox(rig.path, "", OutboxConfig())
            self.purged += other.purge(Lane.ALERT)[0]
            other.close()
        elif step == "wait":
            rig.clock.now += amount / 10
        elif step == "reconnect":
            rig.link.sent.clear()
            rig.relay.on_up()
        elif step == "late_ack":
            for ack in self.late:
                rig.relay.on_ack(ack)
            self.late.clear()
        else:
            self._deliver(step)

    def _write(self, lane: Lane, amount: int) -> None:
        numbers = range(self.number, self.number + amount)
        self.number += amount
        make = event if lane is Lane.ALERT else update
        self.rig.outbox.append([make(n) for n in numbers])
        self.written[lane] += numbers

    def _deliver(self, step: str) -> None:
        payloads = self.rig.take()
        if step == "lose":
            payloads = payloads[1:]
        elif step == "double":
            payloads += payloads
        elif step == "swap":
            payloads.reverse()
        for payload in payloads:
            ack = self.rig.hub.take(decode_batch(payload))
            if step == "ack_lost":
                self.late.append(ack)
            else:
                self.rig.relay.on_ack(ack)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(script=scripts())
def test_nothing_is_lost(script: list[tuple[str, int]]) -> None:
    """Whatever the link did, in the end the hub has every record once, in order."""
    with TemporaryDirectory() as folder:
        rig = Rig(folder)
        chaos = Chaos(rig)
        for step, amount in script:
            chaos.do(step, amount)
        rig.settle()
        rig.outbox.close()

        for lane, numbers in chaos.written.items():
            assert [int(r.at) for r in rig.hub.records(lane)] == numbers


@settings(max_examples=60, deadline=None, derandomize=True)
@given(script=scripts(more=("purge",)))
def test_a_purge_beside_the_relay_makes_no_gap(script: list[tuple[str, int]]) -> None:
    """Whenever it comes: the lane runs empty, and only what was purged is missing."""
    with TemporaryDirectory() as folder:
        rig = Rig(folder)
        chaos = Chaos(rig)
        for step, amount in script:
            chaos.do(step, amount)
        chaos.do("alert", 1)
        rig.settle()
        left = rig.outbox.streams()
        evicted = rig.outbox.stats()[Lane.ALERT].evicted
        rig.outbox.close()

        numbers = chaos.written[Lane.ALERT]
        got = [int(record.at) for record in rig.hub.records(Lane.ALERT)]
        assert left == []
        assert evicted == chaos.purged
        assert got == [number for number in numbers if number in set(got)]
        assert got[-1] == numbers[-1]
        assert len(numbers) - len(got) <= chaos.purged
        states = [int(record.at) for record in rig.hub.records(Lane.STATE)]
        assert states == chaos.written[Lane.STATE]


def test_order_of_lanes_and_boots() -> None:
    """Alerts go before state, an older boot before the present one."""
    with TemporaryDirectory() as folder:
        old = Outbox(Path(folder) / "agent.db", OLD, OutboxConfig())
        old.append([update(1), event(1)])
        old.close()
        rig = Rig(folder)
        rig.outbox.append([update(2), event(2)])
        rig.greet()
        rig.relay.pump()
        headers = [decode_batch(payload).header for payload in rig.take()]
        rig.outbox.close()

        order = [(h.lane, h.boot) for h in headers]
        lanes = (Lane.ALERT, Lane.STATE)
        assert order == [(lane, boot) for lane in lanes for boot in (OLD, BOOT)]


def test_window_is_bounded_and_fresh_batches_are_not_sent_again() -> None:
    """Without acks a few batches fly; silence has the hub asked, then all follow."""
    with TemporaryDirectory() as folder:
        rig = Rig(folder)
        rig.outbox.append([event(n) for n in range(MAX_RECORDS * 10)])
        rig.greet()
        rig.relay.pump()
        first = rig.take()
        rig.clock.now += RESEND_S - 0.1
        rig.relay.pump()
        fresh = rig.take()
        rig.clock.now += 0.2
        rig.relay.pump()
        (question,) = rig.take()
        rig.relay.on_ack(rig.hub.take(decode_batch(question)))
        rig.relay.pump()
        again = rig.take()
        rig.outbox.close()

        assert len(first) == WINDOW
        assert fresh == []
        assert decode_batch(question).rows == []
        assert [decode_batch(p).rows for p in again] == [
            decode_batch(p).rows for p in first
        ]


def test_what_the_hub_has_is_not_sent_again_after_a_reconnect() -> None:
    """Only the answer to this session's question says where to go on."""
    with TemporaryDirectory() as folder:
        rig = Rig(folder)
        rig.outbox.append([event(n) for n in range(MAX_RECORDS * 2)])
        rig.greet()
        rig.relay.pump()
        arrived = rig.take()
        rig.relay.on_up()
        rig.relay.pump()
        first_question = rig.hub.take(decode_batch(rig.take()[0]))
        rig.relay.on_up()
        for payload in arrived:
            rig.hub.take(decode_batch(payload))
        rig.relay.on_ack(first_question)
        rig.relay.pump()
        (question,) = rig.take()
        rig.relay.on_ack(rig.hub.take(decode_batch(question)))
        rig.outbox.append([event(1)])
        rig.relay.pump()
        (fresh,) = rig.take()
        rig.outbox.close()

        assert [seq for seq, _ in decode_batch(fresh).rows] == [MAX_RECORDS * 2 + 1]


def test_a_question_without_an_answer_is_asked_again_ever_more_slowly() -> None:
    """A hub that was away for long finds few questions and no records waiting."""
    with TemporaryDirectory() as folder:
        rig = Rig(folder)
        rig.outbox.append([event(1)])
        asked: list[float] = []
        for tick in range(200):
            rig.clock.now = 1.0 + tick / 10
            rig.relay.pump()
            asked += [rig.clock.now - 1.0 for p in rig.take() if not rows_of(p)]
        rig.outbox.close()

        assert asked == pytest.approx([0.0, 1.0, 3.0, 7.0, 12.0, 17.0], abs=0.11)


def test_after_a_gap_the_oldest_record_is_sent_without_a_pause() -> None:
    """The hub's word that something is missing is enough: nobody waits for silence."""
    with TemporaryDirectory() as folder:
        rig = Rig(folder)
        rig.outbox.append([event(n) for n in range(MAX_RECORDS * 2)])
        rig.greet()
        rig.relay.pump()
        _lost, second = rig.take()
        rig.relay.on_ack(rig.hub.take(decode_batch(second)))
        rig.relay.pump()
        again = rig.take()
        rig.outbox.close()

        assert [rows_of(payload)[0] for payload in again] == [1, MAX_RECORDS + 1]


def test_base_tells_what_was_evicted() -> None:
    """The hub's watermark passes what the device had to throw away."""
    with TemporaryDirectory() as folder:
        rig = Rig(folder)
        small = Outbox(rig.path, BOOT, OutboxConfig(alert_bytes=4096))
        small.append([event(n) for n in range(100)])
        small.close()
        rig.greet()
        rig.relay.pump()
        batch = decode_batch(rig.take()[0])
        ack = rig.hub.take(batch)
        rig.relay.on_ack(ack)
        rig.outbox.close()

        assert batch.header.evicted == batch.header.base > 0
        assert not ack.gap
        assert ack.upto == batch.header.hi


def test_nothing_is_sent_without_a_link() -> None:
    """A link that is down or full is not given anything."""
    with TemporaryDirectory() as folder:
        rig = Rig(folder, window=1)
        rig.outbox.append([event(n) for n in range(MAX_RECORDS * 3)])
        rig.link.connected = False
        down = rig.relay.pump()
        rig.link.connected = True
        full = rig.relay.pump()
        rig.settle()
        rig.outbox.close()

        assert (down, full) == (0, 1)
        assert len(rig.hub.records(Lane.ALERT)) == MAX_RECORDS * 3

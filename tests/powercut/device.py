"""A device's store at work, recorded: ``python -m tests.powercut.device DIR SEED N``.

It commits metrics, alerts and changes of the slot row, sends what it holds to a hub in
memory and starts anew now and then. Before and after each commit it appends a line to
``truth`` beside the database, so that the recording has what was known when.
"""

import base64
import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_agent.config import OutboxConfig
from edge_agent.link.relay import Relay
from edge_agent.store.db import DB_FILE, open_or_set_aside
from edge_agent.store.flush import FLUSH_S, LogFlusher
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.wire.batch import decode_batch
from edge_agent.wire.records import EventRecord, FeedbackRecord, UpdateRecord
from edge_agent.wire.topics import Lane
from tests.fakes.model_hub import ModelHub
from tests.fakes.scripted_link import FakeClock, ScriptedLink

TRUTH_FILE = "truth"
CHECKPOINT_PAGES = (24, 400)
"""Few: the log is moved into the database many times in a run. Many: hardly ever."""
METRICS, ALERT, SLOTS, SEND, RESTART = range(5)
BUSY, QUIET = (10, 4, 4, 6, 1), (10, 0, 0, 0, 0)
"""How often each is done; when quiet there is no network, and only the clock syncs."""
STRETCH = 25
"""Steps between busy and quiet."""


class Store:
    """The device, and the truth about it."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Start in a folder that exists and is empty."""
        self.dice = random.Random(seed)
        self._path = folder / DB_FILE
        self._truth = os.open(folder / TRUTH_FILE, os.O_WRONLY | os.O_CREAT)
        self._clock = FakeClock()
        self._flusher = LogFlusher(self._path)
        self._flushed_at = self._clock.now
        self._hub = ModelHub()
        self._link = ScriptedLink()
        self._release = self._number = self._steps = 0
        self._pages = self.dice.choice(CHECKPOINT_PAGES)
        self._open()

    def _open(self) -> None:
        self._boot = f"{self.dice.getrandbits(64):016x}"
        open_or_set_aside(self._path, 1)[0].close()
        self._outbox = Outbox(self._path, self._boot, OutboxConfig())
        self._slots = SlotStore(self._path, self._boot)
        for conn in (self._outbox._conn, self._slots._conn):
            conn.execute(f"PRAGMA wal_autocheckpoint = {self._pages}")
        self._relay = Relay(
            "d", self._outbox, self._link, self._clock, resend_after_s=2
        )
        self._next = dict.fromkeys(Lane, 1)

    def step(self) -> None:
        """Do one random thing, a little later; sync the log when it is time."""
        self._clock.now += self.dice.uniform(0.01, 0.3)
        if self._clock.now - self._flushed_at >= FLUSH_S:
            self._flusher.step()
            self._flushed_at = self._clock.now
        self._note("clock", at=self._clock.now)
        self._steps += 1
        weights = QUIET if self._steps // STRETCH % 2 else BUSY
        what = self.dice.choices(range(5), weights)[0]
        if what == METRICS:
            self._append([self._metric() for _ in range(self.dice.randint(1, 6))])
        elif what == ALERT:
            self._append([self._alert()])
        elif what == SLOTS:
            self._change_slots()
        elif what == SEND:
            self._send()
        else:
            self._slots.close()
            self._outbox.close()
            self._open()

    def _append(self, records: Sequence[EventRecord | FeedbackRecord]) -> None:
        lane = Lane.ALERT if isinstance(records[0], EventRecord) else Lane.METRIC
        lo = self._next[lane]
        bodies = [self._text(record) for record in records]
        self._note("begin", boot=self._boot, lane=lane, lo=lo, bodies=bodies)
        self._outbox.append(records)
        self._note("done", boot=self._boot, lane=lane, lo=lo, bodies=bodies)
        self._next[lane] += len(records)

    def _change_slots(self) -> None:
        self._release += 1
        slots = Slots(active=self._release, seq=self._release, phase="IDLE")
        record = UpdateRecord(
            at=self._clock.now,
            assignment_seq=self._release,
            rollout=f"r{self._release}",
            release=self._release,
            phase="IDLE",
            outcome="committed",
        )
        self._note("slots_begin", active=self._release)
        self._slots.write(slots, [record])
        self._note("slots_done", active=self._release)

    def _send(self) -> None:
        self._relay.pump()
        for topic, payload in self._link.sent:
            text = base64.b64encode(payload).decode()
            self._note("sent", topic=topic, payload=text)
            ack = self._hub.take(decode_batch(payload))
            if self.dice.random() < 0.8:
                self._relay.on_ack(ack)
        self._link.sent.clear()

    def _metric(self) -> FeedbackRecord:
        self._number += 1
        return FeedbackRecord(
            at=self._clock.now,
            sample_id=f"n{self._number}",
            release=1,
            predicted="a" * self.dice.randint(1, 120),
            label="b",
            correct=False,
            confidence=0.5,
            predicted_at=self._clock.now,
        )

    def _alert(self) -> EventRecord:
        self._number += 1
        text = f"n{self._number}"
        return EventRecord(
            at=self._clock.now, code="AGENT-X-001", severity="info", text=text
        )

    @staticmethod
    def _text(record: EventRecord | FeedbackRecord) -> str:
        return record.text if isinstance(record, EventRecord) else record.sample_id

    def _note(self, what: str, **facts: object) -> None:
        line = json.dumps({"what": what, **facts}) + "\n"
        os.write(self._truth, line.encode())


def main(folder: Path, seed: int, steps: int) -> None:
    """Run the device."""
    store = Store(folder, seed)
    for _ in range(steps):
        store.step()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

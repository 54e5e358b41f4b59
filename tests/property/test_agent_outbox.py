"""The outbox against a model of it: contiguous numbers, one held run, honest counts."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from edge_agent.config import OutboxConfig
from edge_agent.store.outbox import Outbox
from edge_agent.wire.batch import decode_record
from edge_agent.wire.records import AnyRecord, EventRecord, UpdateRecord
from edge_agent.wire.topics import Lane

BUDGET = 4096
BOOTS = ["a" * 16, "b" * 16, "c" * 16]


def event(number: int, size: int) -> EventRecord:
    """Return an alert record of about a size that carries a number."""
    return EventRecord(
        at=float(number), code="AGENT-X-001", severity="info", text="x" * size
    )


def update(number: int, size: int) -> UpdateRecord:
    """Return a state record of about a size that carries a number."""
    return UpdateRecord(
        at=float(number),
        assignment_seq=1,
        rollout="",
        release=1,
        phase="IDLE",
        detail="x" * size,
    )


class OutboxMachine(RuleBasedStateMachine):
    """Two writers a boot (supervisor and worker), one reader, several boots."""

    appended = Bundle("appended")

    @initialize()
    def start(self) -> None:
        """Open the outbox of the first boot."""
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "agent.db"
        self.config = OutboxConfig(alert_bytes=BUDGET, state_bytes=BUDGET)
        self.boot = -1
        self.number = 0
        self.writers: list[Outbox] = []
        self.written: dict[tuple[str, Lane], list[int]] = {}
        self.acked: dict[tuple[str, Lane], int] = {}
        self.reboot()

    @rule()
    def reboot(self) -> None:
        """Start the agent again with a new boot id."""
        if self.boot + 1 >= len(BOOTS):
            return
        self.boot += 1
        for writer in self.writers:
            writer.close()
        self.writers = [
            Outbox(self.path, BOOTS[self.boot], self.config) for _ in range(2)
        ]

    @rule(
        target=appended,
        writer=st.integers(0, 1),
        kinds=st.lists(st.sampled_from([event, update]), min_size=1, max_size=5),
        size=st.integers(0, 900),
    )
    def append(self, writer: int, kinds: list[object], size: int) -> object:
        """Commit some records."""
        records: list[AnyRecord] = []
        for kind in kinds:
            self.number += 1
            made = (
                event(self.number, size) if kind is event else update(self.number, size)
            )
            lane = Lane.ALERT if kind is event else Lane.STATE
            self.written.setdefault((BOOTS[self.boot], lane), []).append(self.number)
            records.append(made)
        self.writers[writer].append(records)
        return multiple()

    @rule(
        boot=st.sampled_from(BOOTS),
        lane=st.sampled_from([Lane.ALERT, Lane.STATE]),
        upto=st.integers(0, 40),
    )
    def acknowledge(self, boot: str, lane: Lane, upto: int) -> None:
        """Delete a prefix."""
        self.writers[0].delete_upto(boot, lane, upto)
        key = (boot, lane)
        self.acked[key] = max(self.acked.get(key, 0), upto)

    @invariant()
    def held_is_the_newest_run(self) -> None:
        """What is held is the end of what was written, in order, without a hole."""
        if not self.writers:
            return
        outbox = self.writers[1]
        for stream in outbox.streams():
            rows = outbox.read(
                stream.boot, stream.lane, 0, max_records=10_000, max_bytes=1 << 30
            )
            wrote = self.written[stream.boot, stream.lane]
            assert stream.last_seq == len(wrote)
            seqs = [seq for seq, _ in rows]
            assert seqs == list(range(stream.lowest, stream.last_seq + 1))
            numbers = [int(decode_record(body).at) for _, body in rows]
            assert numbers == wrote[stream.lowest - 1 :]

    @invariant()
    def nothing_vanishes_uncounted(self) -> None:
        """A record is held, acknowledged or counted as evicted; budgets hold."""
        if not self.writers:
            return
        stats = self.writers[0].stats()
        held = {(s.boot, s.lane): s.lowest - 1 for s in self.writers[0].streams()}
        for lane in (Lane.ALERT, Lane.STATE):
            wrote = {k: len(v) for k, v in self.written.items() if k[1] is lane}
            gone = sum(held.get(key, count) for key, count in wrote.items())
            acked = sum(min(self.acked.get(key, 0), n) for key, n in wrote.items())
            assert stats[lane].produced == sum(wrote.values())
            assert stats[lane].pending == sum(wrote.values()) - gone
            assert stats[lane].pending_bytes <= BUDGET
            assert stats[lane].evicted >= gone - acked

    def teardown(self) -> None:
        """Close and remove everything."""
        for writer in getattr(self, "writers", []):
            writer.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, derandomize=True
)

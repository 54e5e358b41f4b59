"""Record a device, cut the power at many places, start it anew, compare with truth."""

import base64
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from edge_agent.base.clock import SystemClock
from edge_agent.config import OutboxConfig
from edge_agent.link.relay import Relay
from edge_agent.store.db import DB_FILE, open_or_set_aside
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import SlotStore
from edge_agent.wire import codec, topics
from edge_agent.wire.control import Ack
from edge_agent.wire.topics import Lane
from hub.config import IngestConfig
from hub.ingest.writer import IngestWriter
from hub.storage.tables import RECORDS, RECORDS_OF_STREAMS, STREAMS
from tests.fakes.scripted_link import FakeClock, ScriptedLink
from tests.powercut.device import TRUTH_FILE
from tests.powercut.disk import Disk, Entry, Op, read_log

HERE = Path(__file__).parent
MAY_LOSE_S = 1.0
Key = tuple[str, str, int]
"""Boot, lane, number."""


@dataclass(slots=True)
class Truth:
    """What was known at the moment of the cut."""

    now: float = 0.0
    begun: dict[Key, str] = field(default_factory=dict)
    done: dict[Key, float] = field(default_factory=dict)
    """When each commit returned."""
    slots_begun: int = 0
    slots_done: int = 0
    sent: list[tuple[str, bytes]] = field(default_factory=list)

    def follow(self, line: dict[str, Any]) -> None:
        """Take up one line."""
        what = line["what"]
        if what == "clock":
            self.now = line["at"]
        elif what == "sent":
            self.sent.append((line["topic"], base64.b64decode(line["payload"])))
        elif what == "slots_begin":
            self.slots_begun = line["active"]
        elif what == "slots_done":
            self.slots_done = line["active"]
        else:
            for number, body in enumerate(line["bodies"], line["lo"]):
                key = (line["boot"], line["lane"], number)
                if what == "begin":
                    self.begun[key] = body
                else:
                    self.done[key] = self.now


@dataclass(slots=True)
class Counts:
    """Figures over all cuts."""

    cuts: int = 0
    committed: int = 0
    alerts_lost: int = 0
    metrics_lost: int = 0
    metrics_lost_old: int = 0
    most_lost_s: float = 0.0
    set_aside: int = 0
    slots_undone: int = 0
    mixed_up: int = 0
    doubled: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every promise held."""
        return not self.failures


def build_recorder(folder: Path) -> Path:
    """Compile the recorder; it needs a C compiler.

    Raises:
        subprocess.CalledProcessError: It cannot be compiled.
    """
    library = folder / "recorder.so"
    words = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library)]
    subprocess.run([*words, str(HERE / "recorder.c"), "-ldl"], check=True)
    return library


def record(library: Path, folder: Path, seed: int, steps: int) -> list[Entry]:
    """Run a device and return what it did to its disk."""
    state = folder / "state"
    state.mkdir(parents=True)
    log = folder / "log"
    extra = {
        "POWERCUT_ROOT": str(state),
        "POWERCUT_LOG": str(log),
        "LD_PRELOAD": str(library),
    }
    words = ["tests.powercut.device", str(state), str(seed), str(steps)]
    subprocess.run(
        [sys.executable, "-m", *words],
        cwd=HERE.parents[1],
        env=os.environ | extra,
        check=True,
        timeout=300,
    )
    return read_log(log)


def cut_everywhere(
    entries: Sequence[Entry], folder: Path, engine: Engine, *, seed: int, cuts: int
) -> Counts:
    """Cut the power at seeded places of a recording, and judge each."""
    dice = random.Random(seed)
    places = sorted(dice.sample(range(1, len(entries)), min(cuts, len(entries) - 1)))
    disk, truth, counts = Disk(), Truth(), Counts()
    at, truth_inode = 0, 0
    for place in places:
        for entry in entries[at:place]:
            if entry.op is Op.CREATE and Path(entry.path).name == TRUTH_FILE:
                truth_inode = entry.inode
            elif entry.inode == truth_inode:
                truth.follow(json.loads(entry.data))
            else:
                disk.play(entry)
        at = place
        image = folder / f"cut-{place}"
        image.mkdir(parents=True)
        for name, content in disk.cut(random.Random(f"{seed} {place}")).items():
            (image / name).write_bytes(content)
        where = f"seed {seed}, cut {place}"
        Judge(engine, f"s{seed}-{place}", truth, counts).judge(image, where)
        shutil.rmtree(image)
    return counts


class Judge:
    """Starts a device on what a cut left, empties it into the hub, and compares."""

    def __init__(
        self, engine: Engine, device: str, truth: Truth, counts: Counts
    ) -> None:
        """Judge as a device of its own; figures are added to ``counts``."""
        self._engine, self._device = engine, device
        self._truth, self._counts = truth, counts
        self._acks: list[Ack] = []
        self._writer = IngestWriter(
            engine,
            SystemClock(),
            lambda _topic, data: self._acks.append(codec.decode(data, Ack)),
            IngestConfig(queue_batches=4096, group_batches=64),
        )

    def judge(self, image: Path, where: str) -> None:
        """Look at one image."""
        before = len(self._counts.failures)
        try:
            self._start(image)
            self._compare()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self._fail(f"{type(error).__name__}: {error}")
        said = self._counts.failures
        said[before:] = [f"{where}: {text}" for text in said[before:]]
        self._counts.cuts += 1

    def _start(self, image: Path) -> None:
        """Do what an agent does at its start, until nothing is held."""
        path = image / DB_FILE
        conn, aside = open_or_set_aside(path, 1)
        conn.close()
        if aside is not None:
            self._counts.set_aside += 1
            if self._truth.done:
                self._fail("the database was set aside")
        boot = f"{random.Random(self._device).getrandbits(64):016x}"
        slots = SlotStore(path, boot)
        active = slots.read().active
        slots.close()
        if not self._truth.slots_done <= active <= self._truth.slots_begun:
            self._counts.slots_undone += 1
            self._fail(f"release {active}, committed {self._truth.slots_done}")
        for topic, payload in self._truth.sent:
            lane = topic.rsplit("/", 1)[-1]
            self._offer(topics.up(self._device, Lane(lane)), payload)
        self._take()
        self._drain(path, boot)

    def _drain(self, path: Path, boot: str) -> None:
        link, clock = ScriptedLink(), FakeClock()
        outbox = Outbox(path, boot, OutboxConfig())
        relay = Relay(self._device, outbox, link, clock, resend_after_s=1)
        for _ in range(200):
            if not outbox.streams():
                break
            clock.now += 1
            relay.pump()
            for topic, payload in link.sent:
                self._offer(topic, payload)
            link.sent.clear()
            for ack in self._take():
                relay.on_ack(ack)
        else:
            self._fail("the outbox does not get empty")
        outbox.close()

    def _offer(self, topic: str, payload: bytes) -> None:
        self._writer.offer(topic, payload, lambda: None)

    def _take(self) -> list[Ack]:
        while self._writer.step(0.0):
            pass
        acks = list(self._acks)
        self._acks.clear()
        return acks

    def _compare(self) -> None:
        truth, counts = self._truth, self._counts
        there = self._stored()
        for key, body in there.items():
            if key[1] != Lane.STATE and truth.begun.get(key) != body:
                counts.mixed_up += 1
                self._fail(f"{key} holds {body}, not {truth.begun.get(key)}")
        counts.committed += len(truth.done)
        for key in truth.done.keys() - there.keys():
            age_s = truth.now - truth.done[key]
            if key[1] == Lane.ALERT:
                counts.alerts_lost += 1
                self._fail(f"alert {key} is lost, {age_s:.2f} s after its commit")
                continue
            counts.metrics_lost += 1
            counts.most_lost_s = max(counts.most_lost_s, age_s)
            if age_s > MAY_LOSE_S:
                counts.metrics_lost_old += 1
                self._fail(f"metric {key} is lost, {age_s:.2f} s after its commit")

    def _stored(self) -> dict[Key, str]:
        query = (
            select(STREAMS.c.boot, STREAMS.c.lane, RECORDS.c.seq, RECORDS.c.body)
            .select_from(RECORDS_OF_STREAMS)
            .where(STREAMS.c.device == self._device)
        )
        with self._engine.connect() as conn:
            rows = conn.execute(query).all()
        stored: dict[Key, str] = {}
        for row in rows:
            key = (row.boot, row.lane, row.seq)
            if key in stored:
                self._counts.doubled += 1
                self._fail(f"{key} is there twice")
            record = json.loads(row.body)
            stored[key] = record.get("sample_id") or record.get("text", "")
        return stored

    def _fail(self, text: str) -> None:
        self._counts.failures.append(text)

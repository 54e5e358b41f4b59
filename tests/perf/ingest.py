"""The hub's ingest in one process: decode, deduplicate, commit with FULL, acknowledge.

Messages are handed to the writer as the link hands them over; the broker and its
client are not part of it. The baseline is SQLite alone: the same rows, as tuples, into
a table of the same columns without an index, with the same commits.
"""

import sqlite3
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from edge_agent.base.clock import SystemClock
from edge_agent.wire.batch import BatchHeader, encode_batch, encode_record
from edge_agent.wire.records import HealthRecord, UpdateRecord
from edge_agent.wire.topics import Lane, up
from hub.config import IngestConfig
from hub.ingest.writer import IngestWriter
from hub.storage.db import open_database
from tests.perf.recorded import read_recorded
from tests.perf.report import Metric, medians

DEVICES = 10
BATCH = 100
TOTAL = 30_000
MESSAGES = 2_000
GROUP = IngestConfig().group_batches
Message = tuple[str, bytes]
_numbers = count()


def measure(folder: Path) -> list[Metric]:
    """Return records and messages a second, and the share of what SQLite can."""
    labels = read_recorded()[Lane.METRIC]
    small = [_small(place) for place in range(BATCH)]
    health = [_health(place) for place in range(BATCH)]
    batches = {
        "small": _messages(small, TOTAL // BATCH, BATCH),
        "health": _messages(health, TOTAL // BATCH, BATCH),
        "labels": _messages(labels, TOTAL // BATCH, BATCH),
        "single": _messages(small, MESSAGES, 1),
    }

    def rates() -> dict[str, float]:
        taken = {name: _ingest(folder, messages) for name, messages in batches.items()}
        return {
            "small": TOTAL / taken["small"],
            "health": TOTAL / taken["health"],
            "labels": TOTAL / taken["labels"],
            "single": MESSAGES / taken["single"],
            "sqlite": TOTAL / _plain_sqlite(folder, small),
        }

    found = medians(rates)
    return [
        Metric(
            name="ingest_batched",
            value=found["small"],
            unit="records/s",
            at_least=75_000,
        ),
        Metric(name="ingest_batched_health", value=found["health"], unit="records/s"),
        Metric(
            name="ingest_batched_demo_labels", value=found["labels"], unit="records/s"
        ),
        Metric(
            name="ingest_batched_vs_plain_sqlite",
            value=found["small"] / found["sqlite"],
            unit="x",
        ),
        Metric(
            name="ingest_unbatched",
            value=found["single"],
            unit="messages/s",
            at_least=1_000,
        ),
    ]


def _messages(bodies: Sequence[bytes], messages: int, size: int) -> list[Message]:
    """Return batches of ``size``, the devices in turn, each stream without a gap."""
    made: list[Message] = []
    for place in range(messages):
        device, low = f"watch-{place % DEVICES:02d}", place // DEVICES * size + 1
        rows = [(seq, bodies[seq % len(bodies)]) for seq in range(low, low + size)]
        header = BatchHeader(
            boot="0123456789abcdef",
            lane=Lane.METRIC,
            base=0,
            lo=low,
            hi=low + size - 1,
            wall_at=1795390410.25,
            mono_s=1234.5,
        )
        made.append((up(device, Lane.METRIC), encode_batch(header, rows)))
    return made


def _ingest(folder: Path, messages: Sequence[Message]) -> float:
    """Return the seconds from the first message to the last acknowledgement.

    Raises:
        RuntimeError: Not everything was stored.
    """
    engine = open_database(f"sqlite:///{folder / f'{next(_numbers)}.db'}")
    config = IngestConfig(queue_batches=len(messages))
    writer = IngestWriter(engine, SystemClock(), lambda *_: None, config)
    for topic, payload in messages:
        writer.offer(topic, payload, lambda: None)
    began = time.perf_counter()
    while writer.step(0.0):
        pass
    taken = time.perf_counter() - began
    engine.dispose()
    if writer.stats.batches != len(messages) or writer.stats.redelivered:
        raise RuntimeError(f"the bench lost messages: {writer.stats}")
    return taken


def _plain_sqlite(folder: Path, bodies: Sequence[bytes]) -> float:
    db = sqlite3.connect(folder / f"{next(_numbers)}.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE records (stream, seq, kind, at, received, release, body)")
    rows = [
        (1, seq, "health", 1.0, 2.0, 3, bodies[seq % len(bodies)].decode())
        for seq in range(TOTAL)
    ]
    began = time.perf_counter()
    for start in range(0, TOTAL, GROUP * BATCH):
        db.execute("BEGIN IMMEDIATE")
        part = rows[start : start + GROUP * BATCH]
        db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", part)
        db.execute("COMMIT")
    taken = time.perf_counter() - began
    db.close()
    return taken


def _small(place: int) -> bytes:
    """Return a record of 170 bytes, as the target was set with."""
    return encode_record(
        UpdateRecord(
            at=1795390410.25 + place,
            assignment_seq=place,
            rollout="r-2026-11-23-left-arm",
            release=3,
            phase="DOWNLOAD",
            detail=f"{place * 4096} of 1048576",
        )
    )


def _health(place: int) -> bytes:
    return encode_record(
        HealthRecord(
            at=1795390410.25 + place,
            uptime_s=31.094 + place,
            release=1,
            sha256="0fde4921" * 8,
            predictions=17 * place,
            latency_p50_us=13.2,
            latency_p95_us=20.1,
            rss_supervisor_bytes=36_000_000 + 4096 * place,
            rss_worker_bytes=45_000_000,
            outbox_pending={"alert": 0, "state": 0, "metric": place, "sample": 0},
            outbox_evicted={"alert": 0, "state": 0, "metric": 0, "sample": 0},
        )
    )

"""The outbox against one synchronised write a record, and what it writes to flash."""

import os
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from edge_agent.config import OutboxConfig
from edge_agent.store.outbox import Outbox
from edge_agent.wire.batch import encode_record
from edge_agent.wire.records import LANE_OF, AnyRecord, FeedbackRecord, UpdateRecord
from tests.perf.report import Metric, medians

RECORD_BYTES = 200
SINGLES = 200
BATCHES = 60
WRITTEN = 20_000
CONFIG = OutboxConfig(state_bytes=1 << 28)
BOOT = "0" * 16
_numbers = count()


def measure(folder: Path) -> list[Metric]:
    """Return durable rates against both baselines, and write amplification."""
    rates = medians(lambda: _rates(folder))
    written = medians(lambda: _amplification(folder), rounds=3)
    alone, raw = rates["alone"], rates["raw"]
    return [
        Metric(name="fsync", value=1e3 / raw, unit="ms"),
        Metric(
            name="durable_batch_64_vs_single",
            value=rates["64"] / alone,
            unit="x",
            at_least=50,
        ),
        Metric(
            name="durable_batch_256_vs_single",
            value=rates["256"] / alone,
            unit="x",
            at_least=200,
        ),
        Metric(name="durable_batch_64_vs_raw_fsync", value=rates["64"] / raw, unit="x"),
        Metric(
            name="durable_batch_256_vs_raw_fsync", value=rates["256"] / raw, unit="x"
        ),
        Metric(name="durable_batch_256", value=rates["256"], unit="records/s"),
        Metric(
            name="write_amplification",
            value=written["default"],
            unit="bytes written/byte",
            at_most=4,
        ),
        Metric(
            name="write_amplification_batch_64",
            value=written["64"],
            unit="bytes written/byte",
        ),
    ]


def _rates(folder: Path) -> dict[str, float]:
    """Return records a second: a file synchronised for each, then the outbox."""
    singles = [_durable(place) for place in range(SINGLES)]
    return {
        "raw": _raw(folder, singles),
        "alone": _durably(folder, singles, 1),
        "64": _durably(folder, [_durable(n) for n in range(64 * BATCHES)], 64),
        "256": _durably(folder, [_durable(n) for n in range(256 * BATCHES)], 256),
    }


def _raw(folder: Path, records: Sequence[AnyRecord]) -> float:
    file = os.open(folder / f"{next(_numbers)}.raw", os.O_WRONLY | os.O_CREAT)
    began = time.perf_counter()
    for record in records:
        os.write(file, encode_record(record))
        os.fsync(file)
    taken = time.perf_counter() - began
    os.close(file)
    return len(records) / taken


def _durably(folder: Path, records: Sequence[AnyRecord], size: int) -> float:
    box = Outbox(folder / f"{next(_numbers)}.db", BOOT, CONFIG)
    groups = [records[at : at + size] for at in range(0, len(records), size)]
    began = time.perf_counter()
    for group in groups:
        box.append(group)
    taken = time.perf_counter() - began
    box.close()
    return len(records) / taken


def _amplification(folder: Path) -> dict[str, float]:
    return {
        "default": _written(folder, CONFIG.batch_records),
        "64": _written(folder, 64),
    }


def _written(folder: Path, size: int) -> float:
    """Return bytes that this process wrote for one byte of record.

    As on a device with a link: every fourth commit what came before is deleted.
    """
    box = Outbox(folder / f"{next(_numbers)}.db", BOOT, CONFIG)
    records = [_telemetry(place) for place in range(WRITTEN)]
    payload = sum(len(encode_record(record)) for record in records)
    before = _process_written_bytes()
    for place in range(0, WRITTEN, size):
        box.append(records[place : place + size])
        if place % (4 * size) == 0:
            box.delete_upto(BOOT, LANE_OF[FeedbackRecord], place)
    box.close()
    return (_process_written_bytes() - before) / payload


def _process_written_bytes() -> int:
    """Return what the kernel counted as this process's writes to a disk."""
    lines = Path("/proc/self/io").read_text("ascii").splitlines()
    counts = dict(line.split(": ") for line in lines)
    return int(counts["write_bytes"])


def _durable(place: int) -> AnyRecord:
    """Return a record of a lane that is committed with ``synchronous=FULL``."""
    record = UpdateRecord(
        at=1.7e9 + place, assignment_seq=place, rollout="", release=3, phase="DOWNLOAD"
    )
    detail = "x" * (RECORD_BYTES - len(encode_record(record)))
    return UpdateRecord(
        at=record.at,
        assignment_seq=place,
        rollout="",
        release=3,
        phase=record.phase,
        detail=detail,
    )


def _telemetry(place: int) -> AnyRecord:
    label = "walking"
    at = 1.7e9 + place + 0.25
    return FeedbackRecord(
        at=at,
        sample_id=f"p06-right-e5-second@{place:08d}",
        release=1,
        predicted=label,
        label=label,
        correct=True,
        confidence=0.8725,
        predicted_at=at,
    )

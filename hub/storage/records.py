"""Repository of what devices send: records, streams, feedback.

Rows are inserted once and never changed. ``id`` is the order of commit (there is one
writer), so readers go on from the last ``id`` that they saw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, Connection, case, func, select, update

from edge_agent.wire.batch import Rows, decode_record, encode_record
from edge_agent.wire.records import (
    AnyRecord,
    FeedbackRecord,
    HealthRecord,
    ProfileRecord,
    SampleRecord,
    UpdateRecord,
)
from edge_agent.wire.topics import Lane
from hub.storage.db import insert_new
from hub.storage.tables import DEVICES, FEEDBACK, RECORDS, STREAMS

_WITH_RELEASE = (
    ProfileRecord,
    HealthRecord,
    FeedbackRecord,
    UpdateRecord,
    SampleRecord,
)
_decode_profile = msgspec.json.Decoder(ProfileRecord)
_decode_sample = msgspec.json.Decoder(SampleRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamKey:
    """Whose records these are: a device, one start of it, one lane."""

    device: str
    boot: str
    lane: Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProfile:
    """A profile record and where it stands among all records and in its boot."""

    id: int
    device: str
    boot: str
    seq: int
    received_at: float
    record: ProfileRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFeedback:
    """A label that came for a prediction of ``release`` on ``device``."""

    id: int
    device: str
    release: int
    correct: bool
    predicted_at: float
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSample:
    """A raw sample with its label."""

    device: str
    record: SampleRecord


def read_watermark(connection: Connection, key: StreamKey) -> int:
    """Return up to where a stream is complete; 0 for a new one."""
    found = connection.scalar(
        select(STREAMS.c.watermark).where(*_is_stream(key)),
    )
    return found or 0


def write_stream(
    connection: Connection,
    key: StreamKey,
    *,
    watermark: int,
    evicted: int,
    redelivered: int,
) -> None:
    """Set a stream's watermark and add to its redelivered rows.

    The count of evictions only rises: a batch that comes late tells an older one.
    """
    connection.execute(
        insert_new(connection, STREAMS).values(
            device=key.device, boot=key.boot, lane=str(key.lane), watermark=0
        )
    )
    connection.execute(
        update(STREAMS)
        .where(*_is_stream(key))
        .values(
            watermark=watermark,
            evicted=case(
                (STREAMS.c.evicted < evicted, evicted), else_=STREAMS.c.evicted
            ),
            redelivered=STREAMS.c.redelivered + redelivered,
        )
    )


def write_rows(connection: Connection, key: StreamKey, rows: Rows, at: float) -> int:
    """Insert the rows that are new.

    Returns:
        How many of them were there already.
    """
    if not rows:
        return 0
    result = connection.execute(
        insert_new(connection, RECORDS).execution_options(preserve_rowcount=True),
        [_as_row(key, seq, record, at) for seq, record in rows],
    )
    labels = [
        _as_feedback(key.device, record, at)
        for _, record in rows
        if isinstance(record, FeedbackRecord)
    ]
    if labels:
        connection.execute(insert_new(connection, FEEDBACK), labels)
    return len(rows) - max(result.rowcount, 0)


def find_different(connection: Connection, key: StreamKey, rows: Rows) -> list[int]:
    """Return the numbers under which something else is stored than these rows.

    Compared as records, so that a field that a newer hub knows makes no difference.
    """
    stored = connection.execute(
        select(RECORDS.c.seq, RECORDS.c.body).where(
            RECORDS.c.device == key.device,
            RECORDS.c.boot == key.boot,
            RECORDS.c.lane == str(key.lane),
            RECORDS.c.seq >= rows[0][0],
            RECORDS.c.seq <= rows[-1][0],
        )
    )
    came = dict(rows)
    return [seq for seq, body in stored if decode_record(body.encode()) != came[seq]]


def write_clock_offset(connection: Connection, device: str, offset_s: float) -> None:
    """Keep how far a device's wall clock is behind the hub's."""
    connection.execute(
        update(DEVICES).where(DEVICES.c.id == device).values(clock_offset_s=offset_s)
    )


def read_profiles(
    connection: Connection, after: int, limit: int
) -> list[StoredProfile]:
    """Return profile records in order of commit, from the one after ``after``."""
    rows = connection.execute(
        select(
            RECORDS.c.id,
            RECORDS.c.device,
            RECORDS.c.boot,
            RECORDS.c.seq,
            RECORDS.c.received_at,
            RECORDS.c.body,
        )
        .where(RECORDS.c.kind == "profile", RECORDS.c.id > after)
        .order_by(RECORDS.c.id)
        .limit(limit)
    )
    return [
        StoredProfile(
            id=row.id,
            device=row.device,
            boot=row.boot,
            seq=row.seq,
            received_at=row.received_at,
            record=_decode_profile.decode(row.body),
        )
        for row in rows
    ]


def read_feedback(
    connection: Connection, after: int, limit: int
) -> list[StoredFeedback]:
    """Return labels in order of commit, from the one after ``after``."""
    rows = connection.execute(
        select(
            FEEDBACK.c.id,
            FEEDBACK.c.device,
            FEEDBACK.c.release,
            FEEDBACK.c.correct,
            FEEDBACK.c.predicted_at,
            FEEDBACK.c.received_at,
        )
        .where(FEEDBACK.c.id > after)
        .order_by(FEEDBACK.c.id)
        .limit(limit)
    )
    return [StoredFeedback(**row) for row in rows.mappings()]


def read_samples(
    connection: Connection, devices: Sequence[str], since: float
) -> Iterator[StoredSample]:
    """Yield the labelled raw samples of devices received at ``since`` or later."""
    rows = connection.execute(
        select(RECORDS.c.device, RECORDS.c.body)
        .where(*_are_samples(devices, since))
        .order_by(RECORDS.c.id)
    )
    for row in rows:
        record = _decode_sample.decode(row.body)
        if record.label:
            yield StoredSample(device=row.device, record=record)


def count_samples(connection: Connection, devices: Sequence[str], since: float) -> int:
    """Return how many raw samples of devices were received at ``since`` or later."""
    where = _are_samples(devices, since)
    return (
        connection.scalar(select(func.count()).select_from(RECORDS).where(*where)) or 0
    )


def _are_samples(
    devices: Sequence[str], since: float
) -> tuple[ColumnElement[bool], ...]:
    return (
        RECORDS.c.kind == "sample",
        RECORDS.c.device.in_(devices),
        RECORDS.c.received_at >= since,
    )


def _is_stream(key: StreamKey) -> tuple[ColumnElement[bool], ...]:
    return (
        STREAMS.c.device == key.device,
        STREAMS.c.boot == key.boot,
        STREAMS.c.lane == str(key.lane),
    )


def _as_row(
    key: StreamKey, seq: int, record: AnyRecord, at: float
) -> dict[str, str | int | float]:
    return {
        "device": key.device,
        "boot": key.boot,
        "lane": str(key.lane),
        "seq": seq,
        "kind": str(record.__struct_config__.tag),
        "at": record.at,
        "received_at": at,
        "release": record.release if isinstance(record, _WITH_RELEASE) else 0,
        "body": encode_record(record).decode(),
    }


def _as_feedback(
    device: str, record: FeedbackRecord, at: float
) -> dict[str, str | int | float | bool]:
    return {
        "device": device,
        "sample_id": record.sample_id,
        "release": record.release,
        "predicted": record.predicted,
        "label": record.label,
        "correct": record.correct,
        "predicted_at": record.predicted_at,
        "received_at": at,
    }

"""Repository of what devices send: records and labels.

Rows are inserted once and never changed. ``id`` is the order of commit (there is one
writer), so readers go on from the last ``id`` that they saw.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec import UNSET
from sqlalchemy import ColumnElement, Connection, TextClause, func, select

from edge_agent.wire.batch import Rows, decode_record, encode_record
from edge_agent.wire.errors import WireError
from edge_agent.wire.records import (
    KIND_OF,
    AnyRecord,
    FeedbackRecord,
    ProfileRecord,
    SampleRecord,
)
from hub.storage.db import Values, insert_many
from hub.storage.device_days import size_of
from hub.storage.tables import (
    FEEDBACK,
    IS_PROFILE,
    IS_SAMPLE,
    RECORDS,
    RECORDS_OF_STREAMS,
    STREAMS,
)

_RECORD = ("stream", "seq", "kind", "at", "received_at", "release", "body")
_FEEDBACK = (
    "device",
    "sample_id",
    "release",
    "predicted",
    "label",
    "correct",
    "predicted_at",
    "received_at",
    "other_release",
    "other_correct",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How many rows were new, and by stream the size of all that were given."""

    new: int
    sizes: dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProfile:
    """A profile record and where it stands among all records and in its boot."""

    id: int
    device: str
    boot: str
    seq: int
    received_at: float
    body: str
    record: ProfileRecord | None
    """``None`` where what an older hub stored is not what the wire allows."""


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


def write_rows(
    connection: Connection, brought: Iterable[tuple[int, Rows]], at: float
) -> Written:
    """Insert rows received ``at``, given with the numbers of their streams."""
    values: list[Values] = []
    sizes: dict[int, int] = {}
    for stream, rows in brought:
        sizes.setdefault(stream, 0)
        for seq, record in rows:
            kind, body = KIND_OF[type(record)], encode_record(record)
            release = getattr(record, "release", 0)
            sizes[stream] += size_of(kind, len(body))
            values.append((stream, seq, kind, record.at, at, release, body.decode()))
    return Written(new=insert_many(connection, RECORDS, _RECORD, values), sizes=sizes)


def write_labels(
    connection: Connection, brought: Iterable[tuple[str, Rows]], at: float
) -> None:
    """Insert the labels among devices' rows that no prediction has yet."""
    labels = [
        _as_label(device, record, at)
        for device, rows in brought
        for _, record in rows
        if isinstance(record, FeedbackRecord)
    ]
    insert_many(connection, FEEDBACK, _FEEDBACK, labels)


def find_different(connection: Connection, stream: int, rows: Rows) -> list[int]:
    """Return the numbers under which something else is stored than these rows.

    Compared as records, so that a field that a newer hub knows makes no difference.
    """
    found = connection.execute(
        select(RECORDS.c.seq, RECORDS.c.body).where(
            RECORDS.c.stream == stream,
            RECORDS.c.seq >= rows[0][0],
            RECORDS.c.seq <= rows[-1][0],
        )
    )
    stored = {row.seq: row.body for row in found}
    return [
        seq
        for seq, record in rows
        if seq in stored and read_stored(stored[seq]) != record
    ]


def read_stored(body: str) -> AnyRecord | None:
    """Return a record as it was stored; ``None`` if the wire does not allow it.

    An older hub may have committed what this one refuses at the door.
    """
    try:
        return decode_record(body.encode())
    except WireError:
        return None


def read_profiles(
    connection: Connection, after: int, limit: int
) -> list[StoredProfile]:
    """Return profile records in order of commit, from the one after ``after``."""
    rows = connection.execute(
        select(
            RECORDS.c.id,
            STREAMS.c.device,
            STREAMS.c.boot,
            RECORDS.c.seq,
            RECORDS.c.received_at,
            RECORDS.c.body,
        )
        .select_from(RECORDS_OF_STREAMS)
        .where(IS_PROFILE, RECORDS.c.id > after)
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
            body=row.body,
            record=record if isinstance(record, ProfileRecord) else None,
        )
        for row in rows
        for record in (read_stored(row.body),)
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
        select(STREAMS.c.device, RECORDS.c.body)
        .select_from(RECORDS_OF_STREAMS)
        .where(*_are_samples(devices, since))
        .order_by(RECORDS.c.id)
    )
    for row in rows:
        record = read_stored(row.body)
        if isinstance(record, SampleRecord) and record.label:
            yield StoredSample(device=row.device, record=record)


def count_samples(connection: Connection, devices: Sequence[str], since: float) -> int:
    """Return how many raw samples of devices were received at ``since`` or later."""
    where = _are_samples(devices, since)
    return (
        connection.scalar(
            select(func.count()).select_from(RECORDS_OF_STREAMS).where(*where)
        )
        or 0
    )


def _are_samples(
    devices: Sequence[str], since: float
) -> tuple[ColumnElement[bool] | TextClause, ...]:
    return (
        IS_SAMPLE,
        STREAMS.c.device.in_(devices),
        RECORDS.c.received_at >= since,
    )


def _as_label(device: str, record: FeedbackRecord, at: float) -> Values:
    other = record.other
    return (
        device,
        record.sample_id,
        record.release,
        record.predicted,
        record.label,
        record.correct,
        record.predicted_at,
        at,
        other.release if other is not UNSET else None,
        other.correct if other is not UNSET else None,
    )

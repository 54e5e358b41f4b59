"""Batches: bounded, checked, and refused with a code when they are not right."""

import zlib

import msgspec
import pytest

from edge_agent.wire import batch
from edge_agent.wire.batch import BatchHeader
from edge_agent.wire.errors import WireError
from edge_agent.wire.records import AnyRecord, FeedbackRecord, HealthRecord
from edge_agent.wire.topics import Lane

BOOT = "0123456789abcdef"


def header(lo: int, hi: int) -> BatchHeader:
    """Return a header of the metric lane."""
    return BatchHeader(
        boot=BOOT, lane=Lane.METRIC, base=lo - 1, lo=lo, hi=hi, wall_at=1.0, mono_s=2.0
    )


def feedback(number: int) -> FeedbackRecord:
    """Return one of many different feedback records."""
    return FeedbackRecord(
        at=float(number),
        sample_id=f"sample-{number}",
        release=1,
        predicted="a",
        label="b",
        correct=False,
        confidence=0.5,
        predicted_at=1.0,
    )


def encode(lo: int, records: list[AnyRecord]) -> bytes:
    """Encode records from sequence number ``lo`` on."""
    rows = [(lo + i, batch.encode_record(record)) for i, record in enumerate(records)]
    return batch.encode_batch(header(lo, lo + len(records) - 1), rows)


def test_records_of_several_kinds_come_back_in_order() -> None:
    """Columns are an encoding only: the rows are as they were."""
    records: list[AnyRecord] = [
        feedback(1),
        HealthRecord(at=2.0, uptime_s=1.0, release=1),
        feedback(3),
    ]

    decoded = batch.decode_batch(encode(7, records))

    assert decoded.rows == [(7 + i, record) for i, record in enumerate(records)]


def test_records_of_one_kind_with_other_keys_come_back() -> None:
    """Rows written by two versions of the agent may share a batch."""
    old = msgspec.json.encode(
        {"kind": "health", "at": 1.0, "uptime_s": 1.0, "release": 1}
    )
    new = batch.encode_record(HealthRecord(at=2.0, uptime_s=2.0, release=2, errors=3))

    decoded = batch.decode_batch(batch.encode_batch(header(1, 2), [(1, old), (2, new)]))

    assert [record.release for _, record in decoded.rows] == [1, 2]  # type: ignore[union-attr]


def test_a_batch_is_smaller_than_a_third_of_plain_json() -> None:
    """Columns and compression pay on records that resemble each other."""
    records: list[AnyRecord] = [feedback(i) for i in range(64)]

    plain = sum(len(batch.encode_record(record)) for record in records)

    assert len(encode(1, records)) * 3 < plain


@pytest.mark.parametrize(
    ("rows", "lo", "hi"),
    [([1, 2], 1, 3), ([1, 3], 1, 2), ([2, 3], 1, 2), ([1, 1], 1, 2)],
)
def test_sequence_numbers_must_be_exactly_what_the_header_says(
    rows: list[int], lo: int, hi: int
) -> None:
    """A hole, a double or an offset is refused."""
    data = batch.encode_batch(
        header(lo, hi), [(seq, batch.encode_record(feedback(seq))) for seq in rows]
    )

    with pytest.raises(WireError, match="WIRE-BATCH-004"):
        batch.decode_batch(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "WIRE-BATCH-001"),
        (b"no zlib", "WIRE-BATCH-002"),
        (zlib.compress(b"{}"), "WIRE-BATCH-003"),
        (zlib.compress(b"[1,2"), "WIRE-BATCH-003"),
        (zlib.compress(b'{"kinds":{"\xff":{}}}'), "WIRE-BATCH-003"),
        (zlib.compress(b'{"later":' + b"[" * 100_000), "WIRE-BATCH-003"),
        (zlib.compress(b" " * (batch.MAX_PLAIN_BYTES + 1)), "WIRE-BATCH-001"),
        (b"x" * (batch.MAX_COMPRESSED_BYTES + 1), "WIRE-BATCH-001"),
    ],
    ids=[
        "empty",
        "not-zlib",
        "not-a-batch",
        "not-json",
        "not-utf8",
        "too-deep",
        "bomb",
        "oversize",
    ],
)
def test_bytes_that_are_no_batch_are_refused_with_a_code(
    data: bytes, code: str
) -> None:
    """Size is checked before decompression, and inflation is capped."""
    with pytest.raises(WireError, match=code):
        batch.decode_batch(data)


def test_a_truncated_batch_is_refused() -> None:
    """Half a message is never taken for a whole one."""
    data = encode(1, [feedback(1), feedback(2)])

    for cut in range(len(data)):
        with pytest.raises(WireError):
            batch.decode_batch(data[:cut])


def test_columns_of_different_lengths_are_refused() -> None:
    """A column that lost a value cannot shift the others."""
    row = msgspec.to_builtins(feedback(1))
    fields = {name: [value, value] for name, value in row.items() if name != "kind"}
    packed = {
        "header": msgspec.to_builtins(header(1, 2)),
        "kinds": {"feedback": {"seq": [1, 2], "fields": fields | {"at": [1.0]}}},
    }

    with pytest.raises(WireError, match="differ in length"):
        batch.decode_batch(zlib.compress(msgspec.json.encode(packed)))


def test_a_field_out_of_bounds_is_refused() -> None:
    """Every field has a bound, also inside a batch."""
    row = msgspec.json.encode({**msgspec.to_builtins(feedback(1)), "confidence": 1.5})

    with pytest.raises(WireError, match="WIRE-BATCH-003"):
        batch.decode_batch(batch.encode_batch(header(1, 1), [(1, row)]))

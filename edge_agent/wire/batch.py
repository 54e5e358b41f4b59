"""Batches of records: columnar JSON, compressed with zlib.

Records of one kind repeat the same keys and similar values, so they are turned into
one column a field before compression; on telemetry of this shape that is a quarter of
the bytes of plain JSON. ``lo..hi`` is contiguous within the stream
``(device, boot, lane)`` and ``base`` is the lowest sequence number still held minus
one: everything up to it is acknowledged or evicted.
"""

import functools
import operator
import zlib
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from edge_agent.wire.bounds import fault_of
from edge_agent.wire.errors import UNREADABLE, WireError
from edge_agent.wire.records import (
    KIND_OF,
    AnyRecord,
    ProfileRecord,
    SampleRecord,
)
from edge_agent.wire.topics import Lane
from edge_agent.wire.types import BootId, Count, Instant, Message, Seconds, Seq
from edge_agent.wire.version import PROTOCOL_VERSION

MAX_COMPRESSED_BYTES = 1 << 20
MAX_PLAIN_BYTES = 8 << 20
FREE_PLAIN_BYTES = 2 << 20
"""Up to here a batch may be as compressible as it likes: one sample of equal values is
1.4 MB and a thousandth of that when packed."""
MAX_RATIO = 64
"""Beyond :data:`FREE_PLAIN_BYTES`: what a batch may inflate to, in compressed sizes.
Real telemetry has 3 to 6, the same heartbeat 64 times 20."""
MAX_RECORDS = 1024
MAX_KIND_NAME = 32

Rows = list[tuple[int, AnyRecord]]
"""Sequence number and record, rising by one."""


class BatchHeader(Message, frozen=True, kw_only=True):
    """Which part of which stream a batch holds, and the device's two clocks.

    A batch without records (``hi`` is ``lo - 1``) is a question: its ``ask`` comes back
    in the acknowledgement.

    ``wall_at`` and ``mono_s`` are read together when the batch is sent; the hub
    stamps its own time of receipt and so knows each device's clock offset.
    """

    v: Count = PROTOCOL_VERSION
    boot: BootId
    lane: Lane
    base: Count
    lo: Seq
    hi: Seq
    evicted: Count = 0
    ask: Count = 0
    wall_at: Instant
    mono_s: Seconds


class Batch(Message, frozen=True, kw_only=True):
    """A header and its records in order."""

    header: BatchHeader
    rows: Annotated[list[tuple[Seq, AnyRecord]], Meta(max_length=MAX_RECORDS)]


class Columns(Message, frozen=True, kw_only=True):
    """One kind's records: their sequence numbers and one list a field."""

    seq: Annotated[list[Seq], Meta(max_length=MAX_RECORDS)]
    fields: dict[str, list[Any]]


KindName = Annotated[str, Meta(max_length=MAX_KIND_NAME)]


class Packed(Message, frozen=True, kw_only=True):
    """The document inside the compression."""

    header: BatchHeader
    kinds: Annotated[dict[KindName, Columns], Meta(max_length=16)]


class _RawColumns(Message, frozen=True, kw_only=True):
    """:class:`Columns` whose fields are not decoded before their kind is known."""

    seq: Annotated[list[Seq], Meta(max_length=MAX_RECORDS)]
    fields: msgspec.Raw


class _Outline(Message, frozen=True, kw_only=True):
    """:class:`Packed`, decoded by kind in a second step."""

    header: BatchHeader
    kinds: Annotated[dict[KindName, _RawColumns], Meta(max_length=16)]


_seq_of = operator.itemgetter(0)
_KINDS = {KIND_OF[record]: record for record in get_args(AnyRecord)}
_CHECKED = (ProfileRecord, SampleRecord)
"""The kinds that have bounds on their meaning."""
_encode_record = msgspec.json.Encoder().encode
_decode_outline = msgspec.json.Decoder(_Outline)
_decode_row = msgspec.json.Decoder(dict[str, Any])
_decode_record: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)


def encode_record(record: AnyRecord) -> bytes:
    """Encode one record as JSON with its ``kind``."""
    return _encode_record(record)


def decode_record(data: bytes) -> AnyRecord:
    """Decode one record.

    Raises:
        WireError: It is not a valid record, or its figures contradict each other.
    """
    try:
        record = _decode_record.decode(data)
    except UNREADABLE as error:
        raise WireError("WIRE-RECORD-001", f"not a valid record: {error}") from error
    if fault := fault_of(record):
        raise WireError("WIRE-RECORD-002", f"a record that cannot be so: {fault}")
    return record


def encode_batch(header: BatchHeader, rows: list[tuple[int, bytes]]) -> bytes:
    """Encode a batch from records that :func:`encode_record` encoded.

    Records of one kind may lack optional fields that others have (they were written
    by another version of the agent): each distinct set of keys is a column group.
    """
    groups: dict[str, tuple[list[int], list[dict[str, Any]]]] = {}
    for seq, data in rows:
        row = _decode_row.decode(data)
        kind = row.pop("kind")
        name = kind
        while name in groups and groups[name][1][0].keys() != row.keys():
            name += "+"
        seqs, members = groups.setdefault(name, ([], []))
        seqs.append(seq)
        members.append(row)
    kinds = {
        name: Columns(
            seq=seqs, fields={key: [m[key] for m in members] for key in members[0]}
        )
        for name, (seqs, members) in groups.items()
    }
    return zlib.compress(msgspec.json.encode(Packed(header=header, kinds=kinds)), 6)


def decode_batch(data: bytes) -> Batch:
    """Decode and check a batch.

    Raises:
        WireError: It is too large, damaged, not of this form, or its sequence
            numbers are not exactly ``lo..hi``.
    """
    packed = _unpack(data)
    rows: Rows = []
    for name, columns in packed.kinds.items():
        rows += _rows_of(name.rstrip("+"), columns)
    if len(packed.kinds) > 1:
        rows.sort(key=_seq_of)
    header = packed.header
    is_whole = len(rows) == header.hi - header.lo + 1  # before so many are listed
    if not is_whole or [s for s, _ in rows] != list(range(header.lo, header.hi + 1)):
        raise WireError("WIRE-BATCH-004", f"rows are not {header.lo}..{header.hi}")
    return Batch(header=header, rows=rows)


def inflated_limit(size: int) -> int:
    """Return to how many bytes ``size`` compressed ones may inflate."""
    return min(MAX_PLAIN_BYTES, max(FREE_PLAIN_BYTES, MAX_RATIO * size))


def _unpack(data: bytes) -> _Outline:
    if len(data) > MAX_COMPRESSED_BYTES:
        raise WireError("WIRE-BATCH-001", f"batch of {len(data)} bytes is too large")
    inflater = zlib.decompressobj()
    try:
        # Stops at the limit: what lies beyond is neither inflated nor kept.
        plain = inflater.decompress(data, inflated_limit(len(data)))
    except zlib.error as error:
        raise WireError("WIRE-BATCH-002", f"damaged batch: {error}") from error
    if inflater.unconsumed_tail or not inflater.eof:
        raise WireError("WIRE-BATCH-001", "batch is cut short or inflates too far")
    try:
        return _decode_outline.decode(plain)
    except UNREADABLE as error:
        raise WireError("WIRE-BATCH-003", f"not a batch: {error}") from error


def _rows_of(kind: str, columns: _RawColumns) -> Rows:
    """Check whole columns at once, then build one record a row."""
    record: type[AnyRecord] | None = _KINDS.get(kind)
    if record is None:
        raise WireError("WIRE-BATCH-003", f"there is no kind {kind!r}")
    try:
        checked = _columns_decoder(record).decode(columns.fields)
    except UNREADABLE as error:
        raise WireError("WIRE-BATCH-003", f"bad {kind!r} record: {error}") from error
    fields = [
        _or_default(getattr(checked, field.encode_name), field, len(columns.seq))
        for field in msgspec.structs.fields(record)
    ]
    if any(len(values) != len(columns.seq) for values in fields):
        raise WireError("WIRE-BATCH-003", f"columns of {kind!r} differ in length")
    rows: Rows = list(zip(columns.seq, map(record, *fields), strict=True))
    if record in _CHECKED:
        for seq, one in rows:
            if fault := fault_of(one):
                raise WireError("WIRE-BATCH-005", f"{kind!r} record {seq}: {fault}")
    return rows


def _or_default(
    values: list[Any] | msgspec.UnsetType, field: msgspec.structs.FieldInfo, count: int
) -> list[Any]:
    """Return a column, made of its field's default where the batch has none."""
    if values is not msgspec.UNSET:
        return values
    if field.default_factory is not msgspec.NODEFAULT:
        return [field.default_factory() for _ in range(count)]
    return [field.default] * count


@functools.cache
def _columns_decoder(
    record: type[AnyRecord],
) -> msgspec.json.Decoder[msgspec.Struct]:
    """Return the decoder of a kind's columns: each field a list of that field's type.

    A column may be absent where the field has a default.
    """
    fields: list[tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(record):
        values = list[field.type]  # type: ignore[name-defined]
        fields.append(
            (field.encode_name, values, msgspec.NODEFAULT)
            if field.required
            else (field.encode_name, values | msgspec.UnsetType, msgspec.UNSET)
        )
    columns = msgspec.defstruct(f"{record.__name__}Columns", fields, kw_only=True)
    return msgspec.json.Decoder(columns)

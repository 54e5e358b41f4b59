"""Messages that ingest set aside: looking at them and trying them again.

Replaying judges a message with today's code (:mod:`hub.ingest.batches`). What is good
now is committed as ingest does, and leaves the quarantine in the same transaction;
anything else stays with its new reason. ``hub ingest quarantine`` calls it, whether
``hub serve`` runs or not: the write lock and the watermark in the database keep the two
apart. No acknowledgement is sent: a device that still holds the records sends them
again, and that batch is answered.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError

from edge_agent.wire.batch import BatchHeader, KindName, inflated_limit
from edge_agent.wire.errors import UNREADABLE
from hub.errors import NotFoundError
from hub.ingest.batches import Arrived, Outcome, Poison, read_batch, store_batches
from hub.storage import devices, poison
from hub.storage.db import transaction
from hub.storage.poison import CUT_BYTES, PoisonRow

HEAD_BYTES = 64
HEAD_CHARACTERS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What can be made out of a payload; the first of these that can be.

    ``header`` and ``kinds`` (records by kind) of a batch, else ``text``, the beginning
    of what it inflates to, else ``hex``, its first bytes.
    """

    header: BatchHeader | None = None
    kinds: dict[str, int] = field(default_factory=dict)
    text: str = ""
    hex: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What became of a message: committed (``rows`` of them new), or its reason."""

    id: int
    topic: str
    committed: bool
    rows: int = 0
    reason: str = ""


class _Outline(msgspec.Struct, frozen=True, kw_only=True):
    """As much of a batch as says whose it is; its records may be anything."""

    header: BatchHeader
    kinds: dict[KindName, msgspec.Raw] = {}


class _Numbers(msgspec.Struct, frozen=True, kw_only=True):
    seq: list[int] = []


def list_quarantine(engine: Engine) -> list[PoisonRow]:
    """Return what is set aside, oldest first."""
    with engine.connect() as connection:
        return poison.list_poison(connection)


def show_quarantined(engine: Engine, number: int) -> tuple[PoisonRow, Content]:
    """Return one message and what can be made out of it.

    Raises:
        NotFoundError: There is no such message (``HUB-INGEST-001``).
    """
    with engine.connect() as connection:
        row = _get(connection, number)
        return row, read_content(poison.read_payload(connection, number))


def replay(engine: Engine, numbers: Sequence[int] | None) -> list[Replayed]:
    """Try messages again, each in a transaction of its own; all if ``None``.

    Raises:
        NotFoundError: One of them does not exist; none was tried.
    """
    with engine.connect() as connection:
        if numbers is None:
            rows = poison.list_poison(connection)
        else:
            rows = [_get(connection, number) for number in dict.fromkeys(numbers)]
    return [_replay_one(engine, row) for row in rows]


def read_content(payload: bytes) -> Content:
    """Make out as much of a payload as can be, within the bounds of a batch."""
    try:
        limit = inflated_limit(len(payload))
        plain = zlib.decompressobj().decompress(payload, limit)
    except zlib.error:
        plain = b""
    if not plain:
        return Content(hex=payload[:HEAD_BYTES].hex())
    try:
        outline = msgspec.json.decode(plain, type=_Outline)
    except UNREADABLE:
        return Content(text=plain[:HEAD_CHARACTERS].decode(errors="replace"))
    kinds: dict[str, int] = {}
    for name, columns in outline.kinds.items():
        kind = name.rstrip("+")
        kinds[kind] = kinds.get(kind, 0) + _count(columns)
    return Content(header=outline.header, kinds=kinds)


def _count(columns: msgspec.Raw) -> int:
    try:
        return len(msgspec.json.decode(columns, type=_Numbers).seq)
    except UNREADABLE:
        return 0


def _replay_one(engine: Engine, row: PoisonRow) -> Replayed:
    try:
        with transaction(engine) as connection:
            return _try_again(connection, row)
    except (DataError, IntegrityError) as error:
        reason = f"the database refuses it: {error.__class__.__name__}"
    with transaction(engine) as connection:
        poison.write_reason(connection, row.id, reason)
    return Replayed(id=row.id, topic=row.topic, committed=False, reason=reason)


def _try_again(connection: Connection, row: PoisonRow) -> Replayed:
    payload = poison.read_payload(connection, row.id)
    if not payload and row.size:
        gone = "it is no longer in the quarantine"
        return Replayed(id=row.id, topic=row.topic, committed=False, reason=gone)
    found = read_batch(row.topic, payload)
    if isinstance(found, Poison):
        # Of a cut payload, what it was refused for says more than that it is cut.
        reason = row.reason if row.size == CUT_BYTES else found.reason
        poison.write_reason(connection, row.id, reason)
        return Replayed(id=row.id, topic=row.topic, committed=False, reason=reason)
    outcome = _commit(connection, found, row.received_at)
    if reason := outcome.differing.get(0, ""):
        poison.write_reason(connection, row.id, reason)
        return Replayed(id=row.id, topic=row.topic, committed=False, reason=reason)
    poison.delete_poison(connection, [row.id])
    new = outcome.rows - outcome.redelivered
    return Replayed(id=row.id, topic=row.topic, committed=True, rows=new)


def _commit(connection: Connection, found: Arrived, received_at: float) -> Outcome:
    """Store a batch as of when it came, so that it falls into the right windows."""
    outcome = store_batches(connection, [found], at=received_at)
    devices.touch(connection, found.key.device, received_at)
    return outcome


def _get(connection: Connection, number: int) -> PoisonRow:
    row = poison.get_poison(connection, number)
    if row is None:
        raise NotFoundError(
            "HUB-INGEST-001",
            f"there is no message {number} in the quarantine",
            cure="hub ingest quarantine list",
        )
    return row

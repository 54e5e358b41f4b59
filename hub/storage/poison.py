"""Repository of poison: messages that could not be read, with their reasons.

Bounded, because anybody who may publish can fill it: at most :data:`MAX_ROWS` messages
and :data:`MAX_TOTAL_BYTES` of everything that is written of them, the oldest dropped
first, and of one device at most :data:`MAX_ROWS_A_DEVICE` and
:data:`MAX_BYTES_A_DEVICE`, because a device sends again what is not acknowledged and
must not push out everybody else's. A payload is kept whole if it could be a batch; of
a longer one only the first :data:`CUT_BYTES`. Reasons may quote what came, so they are
cut too.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, delete, func, insert, select, update

from edge_agent.wire.batch import MAX_COMPRESSED_BYTES
from hub.storage.tables import POISON

MAX_ROWS = 1000
MAX_ROWS_A_DEVICE = 100
MAX_TOTAL_BYTES = 64 << 20
MAX_BYTES_A_DEVICE = 8 << 20
CUT_BYTES = 64 << 10
MAX_REASON = 512
MAX_TOPIC = 256

_SIZE = func.length(POISON.c.payload)
_WRITTEN = _SIZE + func.length(POISON.c.topic) + func.length(POISON.c.reason)
_DEVICE_LEVEL = 2
"""Place of the device in ``shoal/v1/{d}/…``, whatever follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonRow:
    """A message that is set aside, without its payload."""

    id: int
    received_at: float
    topic: str
    reason: str
    size: int


def write_poison(
    connection: Connection, topic: str, payload: bytes, *, reason: str, at: float
) -> None:
    """Set a message aside; follow with :func:`trim_poison`."""
    if len(payload) > MAX_COMPRESSED_BYTES:
        note = f" (only the first {CUT_BYTES} bytes are kept)"
        reason = reason[: MAX_REASON - len(note)] + note
        payload = payload[:CUT_BYTES]
    connection.execute(
        insert(POISON).values(
            received_at=at,
            topic=topic[:MAX_TOPIC],
            reason=reason[:MAX_REASON],
            payload=payload,
        )
    )


def trim_poison(connection: Connection) -> int:
    """Drop the oldest messages beyond the bounds; return how many that were."""
    newest_first = connection.execute(
        select(POISON.c.id, POISON.c.topic, _WRITTEN.label("size")).order_by(
            POISON.c.id.desc()
        )
    )
    rows_of: Counter[str] = Counter()
    bytes_of: Counter[str] = Counter()
    kept = total = 0
    doomed: list[int] = []
    for row in newest_first:
        device = _device_of(row.topic)
        rows_of[device] += 1
        bytes_of[device] += row.size
        if (
            rows_of[device] > MAX_ROWS_A_DEVICE
            or bytes_of[device] > MAX_BYTES_A_DEVICE
            or kept >= MAX_ROWS
            or total + row.size > MAX_TOTAL_BYTES
        ):
            doomed.append(row.id)
            continue
        kept, total = kept + 1, total + row.size
    if doomed:
        delete_poison(connection, doomed)
    return len(doomed)


def _device_of(topic: str) -> str:
    levels = topic.split("/", _DEVICE_LEVEL + 1)
    return levels[_DEVICE_LEVEL] if len(levels) > _DEVICE_LEVEL else ""


def list_poison(connection: Connection) -> list[PoisonRow]:
    """Return what is set aside, oldest first."""
    return [PoisonRow(**row) for row in connection.execute(_rows()).mappings()]


def get_poison(connection: Connection, number: int) -> PoisonRow | None:
    """Return one message, or ``None``."""
    found = connection.execute(_rows().where(POISON.c.id == number)).mappings().first()
    return None if found is None else PoisonRow(**found)


def read_payload(connection: Connection, number: int) -> bytes:
    """Return a message's payload, as far as it was kept; empty if there is none."""
    found = connection.scalar(select(POISON.c.payload).where(POISON.c.id == number))
    return bytes(found or b"")


def write_reason(connection: Connection, number: int, reason: str) -> None:
    """Say anew why a message cannot be read."""
    connection.execute(
        update(POISON).where(POISON.c.id == number).values(reason=reason[:MAX_REASON])
    )


def delete_poison(connection: Connection, numbers: Sequence[int]) -> None:
    """Forget messages."""
    connection.execute(delete(POISON).where(POISON.c.id.in_(numbers)))


def _rows() -> Select[tuple[int, float, str, str, int]]:
    return select(
        POISON.c.id,
        POISON.c.received_at,
        POISON.c.topic,
        POISON.c.reason,
        _SIZE.label("size"),
    ).order_by(POISON.c.id)

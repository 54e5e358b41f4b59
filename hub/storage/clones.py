"""Births of device processes, and signs that two devices use one id.

Plain functions over one connection; the caller owns the transaction.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from edge_agent.wire.control import Presence
from hub.storage.tables import BIRTHS, CLONES

MAX_BIRTHS = 16
"""Boots of a device that are remembered; clones alternate among the newest."""
TWO_BOOTS = "two boots"
TWO_CONTENTS = "two contents"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneRow:
    """What says that a device is there twice; ``detail`` is the newest sign's."""

    device: str
    sign: str
    detail: str
    times: int
    first_at: float
    last_at: float


def note_birth(conn: Connection, presence: Presence, at: float) -> bool:
    """Remember a birth received ``at``.

    Returns:
        Whether this boot was born before, at another time: the process lives on and
        has connected again. The same message that comes twice is one birth.
    """
    mine = (BIRTHS.c.device == presence.device, BIRTHS.c.boot == presence.boot)
    before = conn.scalar(select(BIRTHS.c.born_at).where(*mine))
    values = {"born_at": presence.at, "heard_at": at}
    if before is not None:
        conn.execute(update(BIRTHS).where(*mine).values(values))
        return bool(before != presence.at)
    conn.execute(
        insert(BIRTHS).values(device=presence.device, boot=presence.boot, **values)
    )
    old = conn.scalars(
        select(BIRTHS.c.boot)
        .where(BIRTHS.c.device == presence.device)
        .order_by(BIRTHS.c.heard_at.desc())
        .offset(MAX_BIRTHS)
    ).all()
    if old:
        conn.execute(
            delete(BIRTHS).where(
                BIRTHS.c.device == presence.device, BIRTHS.c.boot.in_(old)
            )
        )
    return False


def note_clone(
    conn: Connection, device: str, sign: str, *, detail: str, at: float
) -> None:
    """Note a sign that a device is there twice."""
    found = get_clone(conn, device)
    newest = {"sign": sign, "detail": detail, "last_at": at}
    if found is None:
        conn.execute(
            insert(CLONES).values(device=device, times=1, first_at=at, **newest)
        )
        return
    conn.execute(
        update(CLONES)
        .where(CLONES.c.device == device)
        .values(times=CLONES.c.times + 1, **newest)
    )


def get_clone(conn: Connection, device: str) -> CloneRow | None:
    """Return what says that a device is there twice, or ``None``."""
    found = select(CLONES).where(CLONES.c.device == device)
    row = conn.execute(found).mappings().one_or_none()
    return None if row is None else CloneRow(**row)


def list_clones(conn: Connection) -> list[CloneRow]:
    """Return all devices that were ever there twice."""
    rows = conn.execute(select(CLONES).order_by(CLONES.c.device)).mappings()
    return [CloneRow(**row) for row in rows]

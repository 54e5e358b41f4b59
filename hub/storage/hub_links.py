"""Whether the hub has its broker, as of when: written by who serves, read by all.

A command runs in a process of its own, without a connection to the broker. What it
shows of who is online is worth as much as this row is young. Plain functions over one
connection; the caller owns the transaction.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from hub.storage.tables import HUB_LINKS

BEAT_S = 5.0
"""How often the row is written while nothing changes."""
STALE_S = 20.0
"""A row that is older was left by a hub that is gone, or hangs."""
_NAME = "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLinkRow:
    """``up`` or down since ``since_at``, as of ``beat_at`` (Unix seconds)."""

    up: bool
    since_at: float
    beat_at: float

    def serves(self, now: float) -> bool:
        """Tell whether the hub that wrote this still runs."""
        return now - self.beat_at <= STALE_S

    def knows(self, now: float) -> bool:
        """Tell whether anybody can know who is online."""
        return self.up and self.serves(now)


NEVER = HubLinkRow(up=False, since_at=0.0, beat_at=0.0)


def read_link(conn: Connection) -> HubLinkRow:
    """Return what the serving hub wrote last; :data:`NEVER` where none ever did."""
    found = select(HUB_LINKS).where(HUB_LINKS.c.name == _NAME)
    row = conn.execute(found).one_or_none()
    if row is None:
        return NEVER
    return HubLinkRow(up=row.up, since_at=row.since_at, beat_at=row.beat_at)


def write_link(conn: Connection, row: HubLinkRow) -> None:
    """Store the state of the serving hub's link."""
    values = {"up": row.up, "since_at": row.since_at, "beat_at": row.beat_at}
    where = HUB_LINKS.c.name == _NAME
    if not conn.execute(update(HUB_LINKS).where(where).values(values)).rowcount:
        conn.execute(insert(HUB_LINKS).values(name=_NAME, **values))

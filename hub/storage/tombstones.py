"""What is left of a device that was forgotten: a digest of its id, and when.

So it is known that something was erased, and nothing of it is taken in anew: its id
stays denied. The id itself is kept only until everything of it is erased (``pending``).
A digest hides no id that can be guessed. Plain functions over one connection; the
caller owns the transaction.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from hub.storage.tables import TOMBSTONES

_PREFIX = "shoal tombstone\n"
_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """``pending`` is the id while something of it is still there, else empty."""

    digest: str
    forgotten_at: float
    pending: str
    erased_at: float | None


def digest_of(device: str) -> str:
    """Return what is kept of an id: 64 hex digits."""
    return hashlib.sha256(f"{_PREFIX}{device}".encode()).hexdigest()


def bury(conn: Connection, device: str, at: float) -> None:
    """Deny an id from now on, and note that it is to be erased."""
    digest = digest_of(device)
    if get_tombstone(conn, device) is None:
        conn.execute(
            insert(TOMBSTONES).values(digest=digest, forgotten_at=at, pending=device)
        )
        return
    where = TOMBSTONES.c.digest == digest
    conn.execute(update(TOMBSTONES).where(where).values(pending=device))


def mark_erased(conn: Connection, device: str, at: float) -> None:
    """Note that nothing is left of a device; its id goes too."""
    where = TOMBSTONES.c.digest == digest_of(device)
    conn.execute(update(TOMBSTONES).where(where).values(pending="", erased_at=at))


def get_tombstone(conn: Connection, device: str) -> Tombstone | None:
    """Return what is left of a forgotten device, ``None`` if it is none."""
    found = select(TOMBSTONES).where(TOMBSTONES.c.digest == digest_of(device))
    row = conn.execute(found).mappings().one_or_none()
    return None if row is None else Tombstone(**row)


def pending_devices(conn: Connection) -> list[str]:
    """Return the ids that are to be erased still, in the order of their digests."""
    found = select(TOMBSTONES.c.pending).where(TOMBSTONES.c.pending > "")
    return list(conn.scalars(found.order_by(TOMBSTONES.c.digest)))


def forgotten_among(conn: Connection, devices: Collection[str]) -> set[str]:
    """Return those of these devices that were forgotten.

    Inside the transaction that would store something of them, so nothing slips in.
    """
    by_digest = {digest_of(device): device for device in devices}
    digests = list(by_digest)
    gone: set[str] = set()
    for start in range(0, len(digests), _CHUNK):
        some = digests[start : start + _CHUNK]
        found = select(TOMBSTONES.c.digest).where(TOMBSTONES.c.digest.in_(some))
        gone |= {by_digest[digest] for digest in conn.scalars(found)}
    return gone

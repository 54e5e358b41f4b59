"""Revocations beside the database: a restored ``hub.db`` does not undo them.

``revoked.json`` in the hub's home names every certificate that was revoked. It is
written, durably, before the database is; :func:`renew_revocations` writes into the
database what an older copy of it does not know. A home that is restored whole brings
an older journal as well: what was revoked since then is known to nobody.
"""

from pathlib import Path

from msgspec.structs import replace
from sqlalchemy import Connection, Engine, select, update

from edge_agent.wire import codec
from edge_agent.wire.errors import WireError
from edge_agent.wire.types import Instant, Message, Short, prepare
from hub.config import Home
from hub.errors import HubError
from hub.files import write_durably
from hub.storage.db import insert_new, transaction
from hub.storage.tables import CERTIFICATES

JOURNAL_FILE = "revoked.json"
MAX_BYTES = 64 << 20


class Revocation(Message, frozen=True, kw_only=True):
    """One revoked certificate."""

    serial: Short
    device: Short
    issued_at: Instant
    expires_at: Instant
    revoked_at: Instant


class Revocations(Message, frozen=True, kw_only=True):
    """All that were revoked and would not have expired."""

    certificates: list[Revocation] = []


prepare(Revocations)


def note_revoked(conn: Connection, home: Home, device: str, now: float) -> None:
    """Write down that the valid certificates of a device are revoked now."""
    path = home.path / JOURNAL_FILE
    found = select(CERTIFICATES).where(
        CERTIFICATES.c.device == device, CERTIFICATES.c.revoked_at.is_(None)
    )
    new = [
        Revocation(
            serial=row.serial,
            device=device,
            issued_at=row.issued_at,
            expires_at=row.expires_at,
            revoked_at=now,
        )
        for row in conn.execute(found)
    ]
    if new:
        kept = [one for one in _read(path) if one.expires_at > now]
        write_durably(path, codec.encode(Revocations(certificates=[*kept, *new])))


def rename_revoked(home: Home, device: str, pseudonym: str) -> None:
    """Keep the certificates of a device under another name; in a transaction."""
    path = home.path / JOURNAL_FILE
    noted = _read(path)
    if any(one.device == device for one in noted):
        kept = [
            replace(one, device=pseudonym) if one.device == device else one
            for one in noted
        ]
        write_durably(path, codec.encode(Revocations(certificates=kept)))


def renew_revocations(engine: Engine, home: Home) -> int:
    """Revoke in the database what the journal names; return how many that were.

    Raises:
        HubError: The journal cannot be read (``HUB-ENROL-020``).
    """
    noted = {one.serial: one for one in _read(home.path / JOURNAL_FILE)}
    if not noted:
        return 0
    revoked = select(CERTIFICATES.c.serial).where(
        CERTIFICATES.c.revoked_at.is_not(None)
    )
    with engine.connect() as conn:
        missing = noted.keys() - set(conn.scalars(revoked))
    if not missing:
        return 0
    with transaction(engine) as conn:
        for serial in missing:
            one = noted[serial]
            row = {name: getattr(one, name) for name in one.__struct_fields__}
            conn.execute(insert_new(conn, CERTIFICATES).values(**row))
            known = CERTIFICATES.c.serial == serial
            conn.execute(
                update(CERTIFICATES).where(known).values(revoked_at=one.revoked_at)
            )
    return len(missing)


def _read(path: Path) -> list[Revocation]:
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return []
    try:
        return codec.decode(body, Revocations, limit=MAX_BYTES).certificates
    except WireError as error:
        raise HubError(
            "HUB-ENROL-020",
            f"{path} cannot be read: {error}",
            cure="restore it from a backup: it names the certificates that are revoked",
        ) from error

"""Enrolment tokens and device certificates, in the database.

Plain functions over one connection; the caller owns the transaction. Called by
:mod:`hub.identity.service`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from hub.storage.tables import CERTIFICATES, DEVICES, ENROL_TOKENS

_VALID_UNTIL = func.max(
    case((CERTIFICATES.c.revoked_at.is_(None), CERTIFICATES.c.expires_at), else_=0.0)
)
"""Of a device's certificates: when the last one ends that is not revoked; 0: none."""

PSEUDONYM = "~"
"""How the name begins that certificates of a forgotten device have; no id does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A one-time token: the sha256 of its secret, never the secret."""

    device: str
    digest: str
    expires_at: float
    used_at: float | None


def put_token(conn: Connection, row: TokenRow, now: float) -> None:
    """Store the token of a device; it replaces an earlier one."""
    conn.execute(delete(ENROL_TOKENS).where(ENROL_TOKENS.c.device == row.device))
    conn.execute(
        insert(ENROL_TOKENS).values(
            device=row.device,
            digest=row.digest,
            created_at=now,
            expires_at=row.expires_at,
            used_at=row.used_at,
        )
    )


def get_token(conn: Connection, device: str) -> TokenRow | None:
    """Return the token of a device, used or not."""
    found = conn.execute(
        select(ENROL_TOKENS).where(ENROL_TOKENS.c.device == device)
    ).one_or_none()
    if found is None:
        return None
    return TokenRow(
        device=found.device,
        digest=found.digest,
        expires_at=found.expires_at,
        used_at=found.used_at,
    )


def use_token(conn: Connection, device: str, at: float) -> None:
    """Note that the token of a device was used."""
    where = ENROL_TOKENS.c.device == device
    conn.execute(update(ENROL_TOKENS).where(where).values(used_at=at))


def drop_token(conn: Connection, device: str) -> None:
    """Forget the token of a device."""
    conn.execute(delete(ENROL_TOKENS).where(ENROL_TOKENS.c.device == device))


def add_certificate(
    conn: Connection, serial: str, device: str, *, issued_at: float, expires_at: float
) -> None:
    """Remember a certificate that was issued."""
    conn.execute(
        insert(CERTIFICATES).values(
            serial=serial, device=device, issued_at=issued_at, expires_at=expires_at
        )
    )


def is_valid(conn: Connection, serial: str, device: str) -> bool:
    """Tell whether the hub issued this certificate and has not revoked it."""
    found = select(CERTIFICATES.c.serial).where(
        CERTIFICATES.c.serial == serial,
        CERTIFICATES.c.device == device,
        CERTIFICATES.c.revoked_at.is_(None),
    )
    return conn.execute(found).one_or_none() is not None


def revoke(conn: Connection, device: str, at: float) -> int:
    """Revoke every certificate of a device; return how many were valid."""
    where = (CERTIFICATES.c.device == device) & CERTIFICATES.c.revoked_at.is_(None)
    return conn.execute(
        update(CERTIFICATES).where(where).values(revoked_at=at)
    ).rowcount


def newest_expiry(conn: Connection) -> dict[str, float]:
    """Return until when each device has a certificate that is not revoked."""
    found = (
        select(CERTIFICATES.c.device, func.max(CERTIFICATES.c.expires_at).label("at"))
        .where(CERTIFICATES.c.revoked_at.is_(None))
        .group_by(CERTIFICATES.c.device)
    )
    return {row.device: row.at for row in conn.execute(found)}


def revoked_devices(conn: Connection) -> set[str]:
    """Return the devices all of whose certificates are revoked."""
    found = (
        select(CERTIFICATES.c.device)
        .where(CERTIFICATES.c.device.not_like(f"{PSEUDONYM}%"))
        .group_by(CERTIFICATES.c.device)
        .having(func.count() == func.count(CERTIFICATES.c.revoked_at))
    )
    return set(conn.scalars(found))


def denied_devices(conn: Connection, now: float) -> set[str]:
    """Return the devices whose certificates are revoked or expired, all of them.

    With 0 for ``now`` nothing has expired.
    """
    found = (
        select(CERTIFICATES.c.device)
        .where(CERTIFICATES.c.device.not_like(f"{PSEUDONYM}%"))
        .group_by(CERTIFICATES.c.device)
        .having(now >= _VALID_UNTIL)
    )
    return set(conn.scalars(found))


def is_denied(conn: Connection, device: str, now: float) -> bool:
    """Tell whether a device is one of :func:`denied_devices`."""
    found = select(_VALID_UNTIL).where(CERTIFICATES.c.device == device)
    until = conn.execute(found).scalar_one_or_none()
    return until is not None and now >= until


def note_silenced(conn: Connection, devices: Iterable[str]) -> None:
    """Note that devices are offline: nothing they say counts, their will included."""
    conn.execute(
        update(DEVICES).where(DEVICES.c.id == bindparam("device")).values(online=False),
        [{"device": device} for device in devices],
    )


def revoked(conn: Connection, now: float) -> list[tuple[str, float]]:
    """Return serial and time of what was revoked and has not expired anyway."""
    found = select(CERTIFICATES.c.serial, CERTIFICATES.c.revoked_at).where(
        CERTIFICATES.c.revoked_at.is_not(None), CERTIFICATES.c.expires_at > now
    )
    return [(row.serial, row.revoked_at) for row in conn.execute(found)]

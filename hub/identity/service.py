"""Enrolment: one-time tokens buy certificates; the hub remembers and revokes them.

Invariants: of a token only the sha256 is kept; a token is used up in the transaction
that records the certificate it bought; who does not hold a token learns nothing about
it, and writes nothing; a device gets only so many certificates an hour. Called by the
HTTP server and the command line.
"""

import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import Certificate
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection, Engine

from edge_agent.base.clock import Clock
from edge_agent.wire.enrol import (
    RENEW_PURPOSE,
    EnrolReply,
    EnrolRequest,
    RenewRequest,
)
from edge_agent.wire.topics import is_device_id
from hub.config import Home, IdentityConfig
from hub.errors import DeniedError, NotFoundError, RefusedError, TooManyError
from hub.identity.access import Access
from hub.identity.budget import Allowance, Budgets
from hub.identity.ca import HUB_USER, WATCH_USER, Authority, open_authority
from hub.identity.journal import note_revoked
from hub.storage import identity as store
from hub.storage.db import transaction
from hub.storage.devices import store_retired
from hub.storage.identity import TokenRow
from hub.storage.tombstones import forgotten_among

log = logging.getLogger(__name__)

DEVICE_ENROLLED = "device.enrolled"
DEVICE_RENEWED = "device.renewed"
DEVICE_REVOKED = "device.revoked"

_RESERVED = (HUB_USER, WATCH_USER)
"""How the names begin that the hub itself has to the broker."""
_SECRET_BYTES = 32
RENEWALS = Allowance(burst=8, per_s=1 / 3600)
"""Of one device: each leaves a row, and an entry of the list when it is revoked."""
_ABSENT = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolToken:
    """A fresh token; this is the only place where its secret ever is."""

    device: str
    token: str
    expires_at: float


def require_device_id(device: str) -> None:
    """Refuse what no device can be called.

    Raises:
        RefusedError: It is no device id, or one that the hub uses itself
            (``HUB-ENROL-001``).
    """
    if not is_device_id(device) or device.startswith(_RESERVED):
        raise RefusedError(
            "HUB-ENROL-001",
            f"{device!r} cannot be the id of a device",
            cure="use 1 to 64 letters, digits, _ and -",
        )


class IdentityService:
    """Gives devices their names on the broker, and takes them away."""

    def __init__(
        self,
        engine: Engine,
        home: Home,
        config: IdentityConfig,
        clock: Clock,
        access: Access | None = None,
    ) -> None:
        """Work on one database and the authority of one home folder."""
        self.access = access or Access(engine, clock)
        """Who may say nothing any more."""
        self._engine = engine
        self._home = home
        self._days = config.certificate_days
        self._clock = clock
        self._renewals = Budgets(clock, RENEWALS)

    def authority(self) -> Authority:
        """Return the hub's authority, made at the first use."""
        return open_authority(self._home, self._now())

    def issue_token(self, device: str, valid_for_s: float) -> EnrolToken:
        """Make a one-time token for a device; an earlier one is worth nothing then.

        Raises:
            RefusedError: It is no device id, or one that the hub uses itself
                (``HUB-ENROL-001``); or of a device that was forgotten
                (``HUB-ENROL-021``).
        """
        require_device_id(device)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        now = self._clock.wall()
        row = TokenRow(
            device=device,
            digest=_digest(secret),
            expires_at=now + valid_for_s,
            used_at=None,
        )
        with transaction(self._engine) as conn:
            if forgotten_among(conn, [device]):
                raise RefusedError(
                    "HUB-ENROL-021",
                    f"{device!r} was forgotten: its id stays denied",
                    cure="give the device another id",
                )
            store.put_token(conn, row, now)
        return EnrolToken(device=device, token=secret, expires_at=row.expires_at)

    def enrol(self, request: EnrolRequest) -> EnrolReply:
        """Sign a device's request and use up its token.

        Raises:
            DeniedError: The token is wrong, used or expired.
            RefusedError: The signing request cannot be used; the token stays valid.
        """
        # First without the lock of the writer, which is not everybody's to take.
        with self._engine.connect() as conn:
            self._check_token(store.get_token(conn, request.device), request.token)
        authority = self.authority()
        with transaction(self._engine) as conn:
            self._check_token(store.get_token(conn, request.device), request.token)
            reply = self._issue(conn, authority, request.device, request.csr)
            store.use_token(conn, request.device, self._clock.wall())
            # Who enrols anew takes part again.
            store_retired(conn, request.device, None)
        log.info(DEVICE_ENROLLED, extra={"device": request.device})
        return reply

    def renew(self, request: RenewRequest) -> EnrolReply:
        """Sign a request that the device's present certificate vouches for.

        Raises:
            DeniedError: The certificate is revoked or unknown, or did not sign this.
            RefusedError: Certificate or request cannot be used.
            TooManyError: The device has had its share (``HUB-ENROL-016``).
        """
        authority = self.authority()
        present = authority.verify(request.certificate.encode(), self._now())
        device = str(
            present.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        )
        _check_signature(present, request)
        if not self._renewals.spend(device):
            raise TooManyError(
                "HUB-ENROL-016",
                f"{device} has had its share of certificates",
                cure="try again in an hour",
            )
        with transaction(self._engine) as conn:
            if not store.is_valid(conn, f"{present.serial_number:x}", device):
                raise DeniedError("HUB-ENROL-006", "the certificate is revoked")
            reply = self._issue(conn, authority, device, request.csr)
        log.info(DEVICE_RENEWED, extra={"device": device})
        return reply

    def revoke(self, device: str) -> int:
        """Revoke all certificates of a device and its token; return how many.

        Raises:
            NotFoundError: It has neither (``HUB-ENROL-007``).
        """
        now = self._clock.wall()
        with transaction(self._engine) as conn:
            token = store.get_token(conn, device)
            store.drop_token(conn, device)
            note_revoked(conn, self._home, device, now)
            count = store.revoke(conn, device, now)
            store.note_silenced(conn, [device])
        if not count and token is None:
            raise NotFoundError(
                "HUB-ENROL-007", f"{device} has no certificate that is valid"
            )
        log.info(DEVICE_REVOKED, extra={"device": device, "certificates": count})
        return count

    def revoked_devices(self) -> set[str]:
        """Return the devices that may say nothing any more: revoked, or expired."""
        with self._engine.connect() as conn:
            return self.access.denied(conn)

    def expiries(self) -> dict[str, float]:
        """Return, by device, until when it has a certificate (Unix time)."""
        with self._engine.connect() as conn:
            return store.newest_expiry(conn)

    def revocations(self) -> bytes:
        """Return the revocation list as it is now."""
        with self._engine.connect() as conn:
            rows = store.revoked(conn, self._clock.wall())
        return self.authority().revocations(rows, self._now())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)

    def _check_token(self, row: TokenRow | None, secret: str) -> None:
        """Say more than "no" only to who holds the token."""
        expected = row.digest if row is not None else _ABSENT
        matches = hmac.compare_digest(expected, _digest(secret))
        if row is None or not matches:
            raise DeniedError(
                "HUB-ENROL-002",
                "the token is not valid for this device",
                cure="hub devices enroll-token DEVICE gives a new one",
            )
        if row.used_at is not None:
            raise DeniedError(
                "HUB-ENROL-003",
                "the token was used already",
                cure="revoke the device if that was not you; then make a new token",
            )
        if self._clock.wall() >= row.expires_at:
            raise DeniedError(
                "HUB-ENROL-004",
                "the token has expired",
                cure="hub devices enroll-token DEVICE gives a new one",
            )

    def _issue(
        self, conn: Connection, authority: Authority, device: str, csr: str
    ) -> EnrolReply:
        now = self._now()
        issued = authority.sign_device(csr.encode(), device, now, self._days)
        store.add_certificate(
            conn,
            issued.serial,
            device,
            issued_at=now.timestamp(),
            expires_at=issued.expires_at,
        )
        return EnrolReply(certificate=issued.pem.decode(), ca=authority.pem.decode())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _check_signature(present: Certificate, request: RenewRequest) -> None:
    key = present.public_key()
    signed = f"{RENEW_PURPOSE}\n{request.csr}".encode()
    try:
        signature = bytes.fromhex(request.signature)
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
            return
    except (InvalidSignature, ValueError):
        pass
    raise DeniedError("HUB-ENROL-005", "the request is not signed with the present key")

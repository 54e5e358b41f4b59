"""The hub as a small certificate authority (P-256, X.509): the holder of its key.

Nothing of a signing request but its public key is believed: the name, the purpose and
the validity of a certificate are the hub's. Nothing here remembers anything; that is
:mod:`hub.identity.service`.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from hub.config import Home
from hub.errors import HubError, RefusedError
from hub.files import write_durably
from hub.locks import wait_for_flock

HUB_USER = "shoal-hub"
"""Common name of ``hub serve`` on the broker, which may read and write everything."""
WATCH_USER = "shoal-watch"
"""Common name of ``hub tail``, which may read everything and write nothing."""

DEVICE_DAYS = 90
SERVICE_DAYS = 825
_CA_DAYS = 20 * 365
_CRL_DAYS = 10 * 365
"""A list is written anew at each revocation; one that ran out would lock all out."""
_BACKDATED = timedelta(hours=1)
"""For devices whose clock is a little behind."""
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate and what the hub has to remember of it."""

    pem: bytes
    serial: str
    expires_at: float


class Authority:
    """Signs with the key of one home folder."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, pem: bytes) -> None:
        """Use :func:`open_authority` instead."""
        self._key = key
        self._certificate = x509.load_pem_x509_certificate(pem)
        self.pem = pem
        """The CA's own certificate, which devices and brokers trust."""

    def sign_device(
        self, request: bytes, device: str, now: datetime, days: float = DEVICE_DAYS
    ) -> Issued:
        """Sign a PEM request for a device: its id becomes the common name.

        Raises:
            RefusedError: It is no request with a P-256 key that its sender holds
                (``HUB-CA-002``).
        """
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(device, _public_key(request), now, days, purpose)
        return _issued(builder.sign(self._key, hashes.SHA256()))

    def client(self, name: str, now: datetime) -> tuple[bytes, bytes]:
        """Make a key and a client certificate for a service of the hub."""
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(name, key.public_key(), now, SERVICE_DAYS, purpose)
        return _private_pem(key), _pem(builder.sign(self._key, hashes.SHA256()))

    def server(self, hosts: Iterable[str], now: datetime) -> tuple[bytes, bytes]:
        """Make a key and a server certificate for host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [_general_name(host) for host in hosts]
        purpose = ExtendedKeyUsageOID.SERVER_AUTH
        builder = self._builder(
            "shoal-server", key.public_key(), now, SERVICE_DAYS, purpose
        ).add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _private_pem(key), _pem(builder.sign(self._key, hashes.SHA256()))

    def revocations(self, revoked: Iterable[tuple[str, float]], now: datetime) -> bytes:
        """Return the signed revocation list of ``(serial, revoked_at)`` pairs."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - _BACKDATED)
            .next_update(now + timedelta(days=_CRL_DAYS))
        )
        for serial, at in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(serial, 16))
                .revocation_date(datetime.fromtimestamp(at, UTC))
                .build()
            )
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def verify(self, pem: bytes, now: datetime) -> x509.Certificate:
        """Return a certificate that this authority signed and that has not run out.

        Raises:
            RefusedError: It is none (``HUB-CA-003``).
        """
        try:
            found = x509.load_pem_x509_certificate(pem)
            found.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise RefusedError(
                "HUB-CA-003", "the certificate was not issued by this hub"
            ) from error
        if not found.not_valid_before_utc <= now < found.not_valid_after_utc:
            raise RefusedError(
                "HUB-CA-003",
                "the certificate has expired",
                cure="enrol again with a token: hub devices enroll-token DEVICE",
            )
        return found

    def _builder(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        now: datetime,
        days: float,
        purpose: ObjectIdentifier,
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self._key.public_key()
                ),
                critical=False,
            )
        )


def open_authority(home: Home, now: datetime) -> Authority:
    """Load the authority of a home folder; make it where there is none yet.

    Raises:
        HubError: Its key or certificate cannot be read or written (``HUB-CA-001``).
    """
    try:
        with _locked(home.keys):
            if not home.ca_file.exists():
                _create(home, now)
            pem = home.ca_file.read_bytes()
            key = serialization.load_pem_private_key(home.ca_key.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise TypeError("not a P-256 key")  # noqa: TRY301 - one way out
            return Authority(key, pem)
    except (OSError, ValueError, TypeError) as error:
        raise HubError(
            "HUB-CA-001",
            f"the certificate authority of {home.path} cannot be used: {error}",
            cure="bring keys/ca.pem and ca.pem back from a backup: both or none",
        ) from error


def _create(home: Home, now: datetime) -> None:
    # The certificate is written last: where it is, the key is too.
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Shoal hub {x509.random_serial_number():x}"[:24])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    write_durably(home.ca_key, _private_pem(key), mode=_FILE_MODE)
    write_durably(home.ca_file, _pem(certificate))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as lock:
        wait_for_flock(lock, f"the keys in {folder}")
        yield


def _public_key(request: bytes) -> ec.EllipticCurvePublicKey:
    try:
        found = x509.load_pem_x509_csr(request)
        key = found.public_key()
        valid = found.is_signature_valid
    except Exception as error:  # the parser has many ways to refuse
        raise RefusedError(
            "HUB-CA-002", "this is not a certificate signing request"
        ) from error
    if (
        not valid
        or not isinstance(key, ec.EllipticCurvePublicKey)
        or not isinstance(key.curve, ec.SECP256R1)
    ):
        raise RefusedError(
            "HUB-CA-002",
            "the signing request needs a P-256 key and a signature made with it",
        )
    return key


def _issued(certificate: x509.Certificate) -> Issued:
    return Issued(
        pem=_pem(certificate),
        serial=f"{certificate.serial_number:x}",
        expires_at=certificate.not_valid_after_utc.timestamp(),
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

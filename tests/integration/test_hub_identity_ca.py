"""The hub's certificate authority: made once, private, and strict about requests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sqlalchemy import create_engine, inspect

import hub.storage
from hub.config import Home
from hub.errors import HubError, RefusedError
from hub.identity.ca import Authority, open_authority
from hub.storage.db import open_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def request(
    name: str = "whoever", curve: ec.EllipticCurve | None = None
) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """Return a key and a signing request that asks for a name."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    built = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    pem = serialization.Encoding.PEM
    return key, built.sign(key, hashes.SHA256()).public_bytes(pem)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return the authority of a new home folder."""
    return open_authority(Home(tmp_path), NOW)


def test_the_authority_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    """An old home gets one at the first use, and keeps it."""
    first = open_authority(Home(tmp_path), NOW)
    again = open_authority(Home(tmp_path), NOW + timedelta(days=1))

    assert again.pem == first.pem == (tmp_path / "ca.pem").read_bytes()
    assert (tmp_path / "keys" / "ca.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_a_lost_key_is_an_error_and_never_replaced(tmp_path: Path) -> None:
    """A new authority would lock out every device, so nobody makes one unasked."""
    open_authority(Home(tmp_path), NOW)
    (tmp_path / "keys" / "ca.pem").unlink()

    with pytest.raises(HubError, match="HUB-CA-001"):
        open_authority(Home(tmp_path), NOW)


def test_only_the_key_of_a_request_is_believed(authority: Authority) -> None:
    """Name, purpose and validity are the hub's, whatever the device asked for."""
    key, pem = request("shoal-hub")
    issued = authority.sign_device(pem, "pump-7", NOW)
    found = x509.load_pem_x509_certificate(issued.pem)

    assert found.subject.rfc4514_string() == "CN=pump-7"
    assert found.public_key() == key.public_key()
    assert found.not_valid_after_utc == NOW + timedelta(days=90)
    assert issued.expires_at == found.not_valid_after_utc.timestamp()
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    basic = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not basic.ca
    assert authority.verify(issued.pem, NOW) == found


def test_other_curves_and_broken_requests_are_refused(authority: Authority) -> None:
    """A request has a P-256 key and a signature made with it."""
    _, good = request()
    der = bytearray(
        x509.load_pem_x509_csr(good).public_bytes(serialization.Encoding.DER)
    )
    der[-1] ^= 1
    changed = x509.load_der_x509_csr(bytes(der)).public_bytes(
        serialization.Encoding.PEM
    )
    for pem in (b"", b"text", request(curve=ec.SECP384R1())[1], changed):
        with pytest.raises(RefusedError, match="HUB-CA-002"):
            authority.sign_device(pem, "pump-7", NOW)


def test_strangers_and_expired_certificates_do_not_verify(
    authority: Authority, tmp_path: Path
) -> None:
    """Neither another hub's certificates nor old ones count."""
    stranger = open_authority(Home(tmp_path / "other"), NOW)
    foreign = stranger.sign_device(request()[1], "pump-7", NOW).pem
    old = authority.sign_device(request()[1], "pump-7", NOW - timedelta(days=91)).pem

    for pem in (foreign, old, b"text"):
        with pytest.raises(RefusedError, match="HUB-CA-003"):
            authority.verify(pem, NOW)


def test_the_revocation_list_names_the_revoked(authority: Authority) -> None:
    """It is signed by the authority and holds exactly the given serials."""
    issued = authority.sign_device(request()[1], "pump-7", NOW)
    pem = authority.revocations([(issued.serial, NOW.timestamp())], NOW)
    found = x509.load_pem_x509_crl(pem)
    key = x509.load_pem_x509_certificate(authority.pem).public_key()

    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert found.is_signature_valid(key)
    assert [f"{entry.serial_number:x}" for entry in found] == [issued.serial]


def test_a_database_of_the_first_schema_is_brought_up(tmp_path: Path) -> None:
    """A hub that was there before certificates gets their tables."""
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    engine = create_engine(url)
    config = Config()
    folder = Path(next(iter(hub.storage.__path__))) / "migrations"
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    assert not inspect(engine).has_table("certificates")
    engine.dispose()

    opened = open_database(url)
    assert inspect(opened).has_table("certificates")
    assert inspect(opened).has_table("enrol_tokens")
    opened.dispose()

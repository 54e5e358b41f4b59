"""Enrolment: a token buys one certificate, in time, and nobody else learns anything."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from sqlalchemy import text

from edge_agent.wire.enrol import MAX_BODY_BYTES, EnrolReply, RenewRequest
from hub.api.app import make_app
from hub.api.enrol import FAILED_BURST, add_enrolment
from hub.cli import cli
from hub.config import Home, IdentityConfig
from hub.errors import DeniedError, NotFoundError, RefusedError, TooManyError
from hub.home import create_home
from hub.identity.service import RENEWALS, IdentityService
from hub.service import open_services
from hub.storage.db import open_database

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


class HandClock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        """Begin at a fixed time."""
        self.now = START

    def wall(self) -> float:
        """Return the hand's position."""
        return self.now

    def mono(self) -> float:
        """Return the same: this clock never jumps."""
        return self.now


def request(
    key: ec.EllipticCurvePrivateKey | None = None,
) -> tuple[ec.EllipticCurvePrivateKey, str]:
    """Return a key and a signing request for it."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    built = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return key, pem.decode()


@pytest.fixture
def clock() -> HandClock:
    """Return the clock of the test."""
    return HandClock()


@pytest.fixture
def identity(tmp_path: Path, clock: HandClock) -> IdentityService:
    """Return the service over a new home."""
    engine = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    return IdentityService(engine, Home(tmp_path), IdentityConfig(), clock)


def make_web(tmp_path: Path, identity: IdentityService, clock: HandClock) -> FastAPI:
    """Return the application with both endpoints."""
    app = make_app(tmp_path, lambda: True)
    add_enrolment(app, identity, clock)
    return app


def post(
    app: FastAPI, path: str, body: object, address: str = "192.0.2.1"
) -> httpx.Response:
    """Post JSON, or bytes as they are, to the application in this process."""

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as web:
            data = body if isinstance(body, bytes) else msgspec.json.encode(body)
            return await web.post(path, content=data)

    return asyncio.run(go())


def test_a_token_buys_one_certificate(
    tmp_path: Path, identity: IdentityService, clock: HandClock
) -> None:
    """The first request gets the certificate, every other one a refusal."""
    app = make_web(tmp_path, identity, clock)
    token = identity.issue_token("pump-7", 3600).token
    key, csr = request()
    body = {"device": "pump-7", "token": token, "csr": csr}

    first, second = post(app, "/enroll", body), post(app, "/enroll", body)

    reply = msgspec.json.decode(first.content, type=EnrolReply)
    found = x509.load_pem_x509_certificate(reply.certificate.encode())
    assert (first.status_code, found.public_key()) == (200, key.public_key())
    assert found.subject.rfc4514_string() == "CN=pump-7"
    assert reply.ca.encode() == identity.authority().pem
    assert (second.status_code, second.json()["code"]) == (403, "HUB-ENROL-003")


def test_a_token_is_for_its_device_and_its_time(
    tmp_path: Path, identity: IdentityService, clock: HandClock
) -> None:
    """Another device, a wrong secret and a late request get nothing."""
    app = make_web(tmp_path, identity, clock)
    token = identity.issue_token("pump-7", 60).token
    _, csr = request()

    def code(device: str, secret: str) -> str:
        body = {"device": device, "token": secret, "csr": csr}
        answer = post(app, "/enroll", body)
        assert answer.status_code == 403
        return str(answer.json()["code"])

    assert code("pump-8", token) == "HUB-ENROL-002"
    assert code("pump-7", "x") == "HUB-ENROL-002"
    clock.now += 60
    assert code("pump-7", token) == "HUB-ENROL-004"
    newer = identity.issue_token("pump-7", 60).token
    assert code("pump-7", token) == "HUB-ENROL-002"
    body = {"device": "pump-7", "token": newer, "csr": csr}
    assert post(app, "/enroll", body).status_code == 200


def test_a_request_that_cannot_be_signed_leaves_the_token(
    tmp_path: Path, identity: IdentityService, clock: HandClock
) -> None:
    """Token and certificate change in one transaction, or neither does."""
    app = make_web(tmp_path, identity, clock)
    token = identity.issue_token("pump-7", 60).token
    bad = post(app, "/enroll", {"device": "pump-7", "token": token, "csr": "no"})
    good = {"device": "pump-7", "token": token, "csr": request()[1]}

    assert (bad.status_code, bad.json()["code"]) == (400, "HUB-CA-002")
    assert post(app, "/enroll", good).status_code == 200


def test_requests_are_bounded(
    tmp_path: Path, identity: IdentityService, clock: HandClock
) -> None:
    """What is too large, no JSON, or too much a second is refused with a code."""
    app = make_web(tmp_path, identity, clock)
    large = post(app, "/enroll", b"x" * (MAX_BODY_BYTES + 1))
    broken = post(app, "/enroll", b"{")
    many = [post(app, "/enroll", b"{").status_code for _ in range(int(FAILED_BURST))]

    assert (large.status_code, large.json()["code"]) == (413, "HUB-ENROL-011")
    assert (broken.status_code, broken.json()["code"]) == (400, "HUB-ENROL-012")
    assert many == [400] * (int(FAILED_BURST) - 2) + [429] * 2
    assert post(app, "/enroll", b"{").headers["retry-after"] == "1"
    assert post(app, "/enroll", b"{", "192.0.2.2").status_code == 400
    clock.now += 1
    assert post(app, "/enroll", b"{").status_code == 400


def test_a_site_behind_one_address_enrols_whatever_others_guess(
    tmp_path: Path, identity: IdentityService, clock: HandClock
) -> None:
    """A token that is right spends nothing; guesses of other addresses neither."""
    app = make_web(tmp_path, identity, clock)
    _, csr = request()
    guess = {"device": "pump-0", "token": "guess", "csr": csr}
    for _ in range(int(FAILED_BURST) + 1):
        last = post(app, "/enroll", guess, "2001:db8::1")
    neighbour = post(app, "/enroll", guess, "2001:db8::ffff")
    count = int(FAILED_BURST) + 20
    statuses = set()
    for number in range(count):
        device = f"pump-{number}"
        token = identity.issue_token(device, 60).token
        body = {"device": device, "token": token, "csr": csr}
        statuses.add(post(app, "/enroll", body).status_code)

    assert (last.status_code, neighbour.status_code) == (429, 429)
    assert statuses == {200}


def test_renewals_count_after_their_signature_and_by_device(
    tmp_path: Path, identity: IdentityService, clock: HandClock
) -> None:
    """Forged ones cost nobody a renewal; a device gets so many certificates an hour."""
    app = make_web(tmp_path, identity, clock)
    key, csr = request()
    token = identity.issue_token("pump-7", 60).token
    body = {"device": "pump-7", "token": token, "csr": csr}
    present = post(app, "/enroll", body).json()["certificate"]
    signed = f"shoal-renew-v1\n{csr}".encode()
    signature = key.sign(signed, ec.ECDSA(hashes.SHA256())).hex()
    good = RenewRequest(certificate=present, csr=csr, signature=signature)
    forged = RenewRequest(certificate=present, csr=csr, signature="00")

    refused = {
        post(app, "/renew", forged).status_code for _ in range(int(FAILED_BURST) + 5)
    }
    given = [post(app, "/renew", good) for _ in range(int(RENEWALS.burst) + 1)]

    assert refused == {403}
    assert [one.status_code for one in given] == [200] * int(RENEWALS.burst) + [429]
    assert given[-1].json()["code"] == "HUB-ENROL-016"
    with pytest.raises(TooManyError):
        identity.renew(good)
    clock.now += 3600
    assert post(app, "/renew", good).status_code == 200


def test_only_a_digest_of_the_secret_is_kept(tmp_path: Path) -> None:
    """Who reads the hub's files cannot enrol."""
    home = Home(tmp_path / "home")
    clock = HandClock()
    create_home(home, clock)
    services = open_services(home, clock)
    token = services.identity.issue_token("pump-7", 60).token
    with services.engine.connect() as conn:
        stored = conn.scalar(text("SELECT digest FROM enrol_tokens"))
    services.engine.dispose()

    assert len(token) >= 43
    assert stored != token
    assert len(str(stored)) == 64
    for path in home.path.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("name", ["hub", "shoal-hub", "shoal-watch", "a/b", "", "+"])
def test_the_hubs_own_names_are_no_devices(
    identity: IdentityService, name: str
) -> None:
    """Nobody can enrol as the hub, or as a topic filter."""
    with pytest.raises(RefusedError, match="HUB-ENROL-001"):
        identity.issue_token(name, 60)


def test_a_valid_certificate_renews_itself_and_a_revoked_one_does_not(
    tmp_path: Path, identity: IdentityService, clock: HandClock
) -> None:
    """The present key vouches for the next one, until the device is revoked."""
    app = make_web(tmp_path, identity, clock)
    token = identity.issue_token("pump-7", 60).token
    old, csr = request()
    body = {"device": "pump-7", "token": token, "csr": csr}
    present = post(app, "/enroll", body).json()["certificate"]
    new, csr = request()

    def renewal(signer: ec.EllipticCurvePrivateKey) -> RenewRequest:
        signed = f"shoal-renew-v1\n{csr}".encode()
        signature = signer.sign(signed, ec.ECDSA(hashes.SHA256())).hex()
        return RenewRequest(certificate=present, csr=csr, signature=signature)

    forged = post(app, "/renew", renewal(new))
    assert (forged.status_code, forged.json()["code"]) == (403, "HUB-ENROL-005")
    renewed = post(app, "/renew", renewal(old)).json()["certificate"]
    found = x509.load_pem_x509_certificate(renewed.encode())
    assert found.subject.rfc4514_string() == "CN=pump-7"
    assert found.public_key() == new.public_key()
    assert identity.revoke("pump-7") == 2
    assert len(x509.load_pem_x509_crl(identity.revocations())) == 2
    with pytest.raises(DeniedError, match="HUB-ENROL-006"):
        identity.renew(renewal(old))
    with pytest.raises(NotFoundError, match="HUB-ENROL-007"):
        identity.revoke("pump-8")


def test_the_command_line_gives_tokens_and_revokes(tmp_path: Path) -> None:
    """The token alone goes to standard output; a device unknown is not found."""
    home = tmp_path / "home"
    create_home(Home(home), HandClock())

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["--home", str(home), "devices", *words])
        return done.exit_code, done.stdout

    plain = run("enroll-token", "pump-7")
    shown = json.loads(run("enroll-token", "pump-7", "--valid-for", "2d", "--json")[1])
    assert (plain[0], len(plain[1].split())) == (0, 1)
    assert set(shown) == {"device", "token", "expires_at"}
    assert run("enroll-token", "pump-7", "--valid-for", "soon")[0] == 2
    assert run("enroll-token", "hub")[0] == 7
    assert json.loads(run("revoke", "pump-7", "--json")[1])["revoked"] == 0
    assert run("revoke", "pump-7")[0] == 3

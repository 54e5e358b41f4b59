"""Who has no certificate, or asks the HTTP server as no client would."""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.wire.enrol import RENEW_PURPOSE
from tests.fault.hostile.arena import DESCRIPTORS
from tests.fault.hostile.outcome import Outcome, attempt
from tests.fault.hostile.scene import Scene
from tests.fault.hostile.web import BRIEF_S, LOCAL, STRANGER
from tests.mtls import new_request

IGNORED, REFUSED, BELIEVED = Outcome.IGNORED, Outcome.REFUSED, Outcome.BELIEVED
IDLE = DESCRIPTORS + 88
HALF_OPEN = 150
SPAM = 40
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
SERVED_S = 20.0


@attempt(REFUSED)
def connections_that_say_nothing(scene: Scene) -> Outcome:
    """More idle connections than the hub has file descriptors."""
    with _many(IDLE, scene.arena.web.plain):
        return _served(scene)


@attempt(REFUSED)
def handshakes_that_stop(scene: Scene) -> Outcome:
    """150 TLS handshakes that end after their first five bytes."""

    def begin() -> socket.socket:
        made = scene.arena.web.plain()
        made.sendall(b"\x16\x03\x01\x02\x00")
        return made

    with _many(HALF_OPEN, begin):
        return _served(scene)


@attempt(REFUSED)
def requests_that_never_end(scene: Scene) -> Outcome:
    """150 requests whose heads are sent one byte at a time, and then not at all."""

    def begin() -> socket.socket:
        made = scene.arena.web.secure(limit_s=BRIEF_S)
        made.sendall(HEAD)
        return made

    with _many(HALF_OPEN, begin):
        return _served(scene)


@attempt(REFUSED)
def a_body_without_end(scene: Scene) -> Outcome:
    """An enrolment of a gigabyte, by its length and in chunks."""
    head = b"POST /enroll HTTP/1.1\r\nHost: localhost\r\n"
    length = head + b"Content-Length: 1000000000\r\n\r\n" + b"x" * 100_000
    chunks = head + b"Transfer-Encoding: chunked\r\n\r\n"
    chunks += (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 4
    found = {scene.arena.web.send(request) for request in (length, chunks)}
    return REFUSED if found <= {0, 400, 411, 413, 429} else BELIEVED


@attempt(REFUSED)
def a_length_and_chunks(scene: Scene) -> Outcome:
    """`Content-Length` and `Transfer-Encoding` in one request, and two lengths."""
    head = b"POST /enroll HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    both = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    twice = b"Content-Length: 4\r\nContent-Length: 40\r\n\r\n{}{}"
    web = scene.arena.web
    text = web.text(head + both), web.text(head + twice)
    return BELIEVED if any("HUB-ENROL" in found for found in text) else REFUSED


@attempt(REFUSED)
def pages_that_nobody_needs(scene: Scene) -> Outcome:
    """`/openapi.json`, `/docs`, paths out of the folder of artifacts."""
    paths = ("/openapi.json", "/docs", "/artifacts/../keys/ca.pem", "/artifacts/%2e%2e")
    found = {scene.arena.web.get(path) for path in paths}
    return REFUSED if found <= {0, 400, 404, 422} else BELIEVED


@attempt(REFUSED)
def enrolments_without_a_token(scene: Scene) -> Outcome:
    """40 enrolments from one address while an honest device enrols from another."""
    body = json.dumps({"device": "x", "token": "guess", "csr": "x"}).encode()
    found = scene.arena.web.repeat("/enroll", body, SPAM, STRANGER)
    return _enrols(scene, "newcomer") if found <= {0, 400, 403, 429} else BELIEVED


@attempt(REFUSED)
def renewals_with_a_foreign_key(scene: Scene) -> Outcome:
    """40 renewals of an honest certificate, signed by another device's key."""
    device = scene.hostile()
    victim = scene.arena.rig.enrol(f"victim-{scene.number}")
    false = renewal(victim, device.files)
    found = scene.arena.web.repeat("/renew", false, SPAM, LOCAL)
    true = scene.arena.web.post("/renew", renewal(victim, victim), LOCAL)
    return REFUSED if true == 200 and 200 not in found else BELIEVED


@attempt(REFUSED)
def a_certificate_of_another_name(scene: Scene) -> Outcome:
    """A valid token of one device used for another, and for the hub's own name."""
    identity = scene.arena.services.identity
    token = identity.issue_token(f"hostile-{scene.number}", 60).token
    _, csr = new_request()
    names = ("honest-0", "shoal-hub", "hub", "a/b", "")
    bodies = [
        json.dumps({"device": name, "token": token, "csr": csr}).encode()
        for name in names
    ]
    found = {scene.arena.web.post("/enroll", body) for body in bodies}
    return REFUSED if 200 not in found else BELIEVED


def renewal(shown: tuple[str, ...], signer: tuple[str, ...]) -> bytes:
    """Return a renewal of a certificate, signed by the key of ``signer``."""
    _, csr = new_request()
    with open(signer[2], "rb") as file:  # noqa: PTH123 - a file of the rig
        key = serialization.load_pem_private_key(file.read(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    text = f"{RENEW_PURPOSE}\n{csr}".encode()
    with open(shown[1], encoding="utf-8") as file:  # noqa: PTH123 - likewise
        certificate = file.read()
    document = {
        "certificate": certificate,
        "csr": csr,
        "signature": key.sign(text, ec.ECDSA(hashes.SHA256())).hex(),
    }
    return json.dumps(document).encode()


def _served(scene: Scene) -> Outcome:
    """Tell whether an honest client from another address is answered."""
    deadline = time.monotonic() + SERVED_S
    while time.monotonic() < deadline and scene.arena.alive:
        if scene.arena.web.healthy():
            return REFUSED
    return BELIEVED


def _enrols(scene: Scene, name: str) -> Outcome:
    """Tell whether a newcomer with a token gets its certificate at once."""
    token = scene.arena.services.identity.issue_token(name, 60).token
    _, csr = new_request()
    body = json.dumps({"device": name, "token": token, "csr": csr}).encode()
    return REFUSED if scene.arena.web.post("/enroll", body, LOCAL) == 200 else BELIEVED


@contextmanager
def _many(count: int, begin: Callable[[], socket.socket]) -> Iterator[None]:
    """Hold so many connections, or as many as are to be had."""
    with ExitStack() as stack:
        for _ in range(count):
            try:
                stack.enter_context(begin())
            except (OSError, ssl.SSLError):
                break
        yield

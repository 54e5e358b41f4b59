"""``edge-agent enroll``: a key made here, a certificate bought with a one-time token.

The key never leaves the device. ``openssl`` makes it and the signing request, so that
a device needs no cryptography library. Nothing is replaced before the hub's answer was
checked: the certificate is for our key and was signed by the authority that came along.
"""

import os
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from edge_agent.base.tls import client_context
from edge_agent.config import AgentConfig, TlsConfig, place_tls
from edge_agent.errors import EnrolError
from edge_agent.store.disk import disk_error, sync_folder
from edge_agent.wire import codec
from edge_agent.wire.enrol import (
    MAX_BODY_BYTES,
    RENEW_PURPOSE,
    EnrolRefusal,
    EnrolReply,
    EnrolRequest,
    RenewRequest,
)
from edge_agent.wire.errors import WireError

if TYPE_CHECKING:
    import httpx

OPENSSL_S = 30.0
TIMEOUT_S = 30.0
_OK = 200
_PRIVATE, _PUBLIC = 0o600, 0o644


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """What ``edge-agent enroll`` wrote."""

    device: str
    certificate: str
    key: str
    ca: str

    def lines(self) -> list[str]:
        """Return the result as lines of text."""
        return [f"{self.device} has its certificate: {self.certificate}"]


def enrol(
    config: AgentConfig, config_path: Path, hub: str, token: str, ca: Path | None
) -> Enrolled:
    """Make a key, let the hub sign it, and write key, certificate and CA.

    Args:
        config: The device's configuration.
        config_path: Its file; paths in it are relative to its folder.
        hub: The hub's address.
        token: One-time token; empty: the present certificate vouches instead.
        ca: Authority of the hub's HTTPS certificate; ``None``: the one enrolled with.

    Raises:
        EnrolError: The hub refuses, cannot be reached, or ``openssl`` is missing.
        StoreError: The state folder cannot be written.
    """
    broker = place_tls(config, config_path.resolve().parent)
    _refuse_plaintext(hub, allowed=broker.allow_plaintext)
    files = broker.tls
    try:
        Path(files.key).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error) from error
    key = _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    csr = _request(key, config.device.id)
    trusted = ca or (Path(files.ca) if Path(files.ca).exists() else None)
    if token:
        body: EnrolRequest | RenewRequest = EnrolRequest(
            device=config.device.id, token=token, csr=csr.decode()
        )
    else:
        body = _renewal(files, csr.decode())
    way = "/enroll" if token else "/renew"
    reply = _post(hub.rstrip("/") + way, codec.encode(body), trusted)
    _install(files, key, reply)
    return Enrolled(
        device=config.device.id, certificate=files.cert, key=files.key, ca=files.ca
    )


def _refuse_plaintext(hub: str, *, allowed: bool) -> None:
    from edge_agent.base.loopback import is_loopback

    parts = urlsplit(hub)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise EnrolError(
            "AGENT-ENROL-001",
            f"{hub!r} is no address of a hub",
            cure="give one such as https://hub.example.org:8770",
        )
    if parts.scheme == "http" and not allowed and not is_loopback(parts.hostname):
        raise EnrolError(
            "AGENT-ENROL-002",
            "the token would go over the network in plaintext",
            cure="use https:// with --ca (api.tls = true on the hub)",
        )


def _openssl(*words: str, given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(
            ["openssl", *words],  # noqa: S607 - where it is differs between systems
            input=given,
            capture_output=True,
            timeout=OPENSSL_S,
            check=True,
        )
    except FileNotFoundError as error:
        raise EnrolError(
            "AGENT-ENROL-003",
            "the program openssl, which makes the key, is not installed",
            cure="install the system's package: apt-get install openssl",
        ) from error
    except (subprocess.SubprocessError, OSError) as error:
        raise EnrolError(
            "AGENT-ENROL-004", f"openssl {words[0]} failed: {error}"
        ) from error
    return done.stdout


def _request(key: bytes, device: str) -> bytes:
    return _openssl(
        "req",
        "-new",
        "-sha256",
        "-subj",
        f"/CN={device}",
        "-key",
        "/dev/stdin",
        given=key,
    )


def _renewal(files: TlsConfig, csr: str) -> RenewRequest:
    try:
        certificate = Path(files.cert).read_text("utf-8")
    except OSError as error:
        raise EnrolError(
            "AGENT-ENROL-005",
            f"there is no certificate to renew: {error}",
            cure="enrol with a token: hub devices enroll-token DEVICE",
        ) from error
    signed = f"{RENEW_PURPOSE}\n{csr}".encode()
    signature = _openssl("dgst", "-sha256", "-sign", files.key, given=signed)
    return RenewRequest(certificate=certificate, csr=csr, signature=signature.hex())


def _post(url: str, body: bytes, ca: Path | None) -> EnrolReply:
    import httpx

    try:
        context = client_context(str(ca)) if ca else ssl.create_default_context()
        with (
            httpx.Client(verify=context, timeout=TIMEOUT_S, trust_env=False) as client,
            client.stream("POST", url, content=body) as response,
        ):
            return _read(response)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise EnrolError(
            "AGENT-ENROL-006",
            f"the hub cannot be reached at {url}: {error}",
            cure="check --hub, and --ca where it is https",
            retryable=True,
        ) from error


def _read(response: "httpx.Response") -> EnrolReply:
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > 2 * MAX_BODY_BYTES:
            break
    try:
        if response.status_code == _OK:
            return codec.decode(body, EnrolReply)
        refusal = codec.decode(body, EnrolRefusal)
    except WireError as error:
        raise EnrolError(
            "AGENT-ENROL-007",
            f"this is no answer of a hub (status {response.status_code})",
        ) from error
    raise EnrolError(
        "AGENT-ENROL-008",
        f"the hub refuses ({refusal.code}): {refusal.text}",
        cure=refusal.cure,
    )


def _install(files: TlsConfig, key: bytes, reply: EnrolReply) -> None:
    """Check the answer on files of their own, then let them take the final names."""
    parts = {
        Path(files.ca): (reply.ca.encode(), _PUBLIC),
        Path(files.key): (key, _PRIVATE),
        Path(files.cert): (reply.certificate.encode(), _PUBLIC),
    }
    made: dict[Path, Path] = {}
    try:
        for path, (data, mode) in parts.items():
            made[path] = _write_beside(path, data, mode)
        new_ca, new_key, new_cert = made.values()
        try:
            client_context(str(new_ca), str(new_cert), str(new_key))
        except OSError as error:
            raise EnrolError(
                "AGENT-ENROL-009", f"the hub's answer is not for this key: {error}"
            ) from error
        _openssl(
            "verify", "-purpose", "sslclient", "-CAfile", str(new_ca), str(new_cert)
        )
        for path, new in made.items():
            new.replace(path)
            sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error) from error
    finally:
        for new in made.values():
            new.unlink(missing_ok=True)


def _write_beside(path: Path, data: bytes, mode: int) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)

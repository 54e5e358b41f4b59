"""``edge-agent enroll``: a key made here, a certificate bought with a one-time token.

The key never leaves the device. ``openssl`` makes it and the signing request, so that
a device needs no cryptography library. Nothing is replaced before the hub's answer was
checked: the certificate is for our key and was signed by the authority that came along.
Key and certificate are one file and so take the place of the old pair in one rename.
"""

import os
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from edge_agent.base.tls import client_context
from edge_agent.config import AgentConfig, TlsConfig, place_tls
from edge_agent.errors import EnrolError
from edge_agent.openssl import certificate_of, read_certificate, run_openssl
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

TIMEOUT_S = 30.0
HUB_SUFFIX = ".hub"
_OK = 200
_PRIVATE, _PUBLIC = 0o600, 0o644


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """What ``edge-agent enroll`` wrote."""

    device: str
    certificate: str
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
        EnrolError: The hub refuses, cannot be reached, ``openssl`` is missing, or the
            configuration names a key of its own.
        StoreError: The state folder cannot be written.
    """
    broker = place_tls(config, config_path.resolve().parent)
    _refuse_plaintext(hub, allowed=broker.allow_plaintext)
    files = broker.tls
    if files.key:
        raise EnrolError(
            "AGENT-ENROL-010",
            f"broker.tls.key names a key that is managed elsewhere: {files.key}",
            cure="remove broker.tls.key: an enrolled device has key and certificate in"
            " one file, broker.tls.cert",
        )
    try:
        Path(files.cert).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error) from error
    key = run_openssl(
        "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"
    )
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
    remember_hub(Path(files.cert), hub)
    return Enrolled(device=config.device.id, certificate=files.cert, ca=files.ca)


def remember_hub(certificate: Path, hub: str) -> None:
    """Keep, beside the certificate, where it can be renewed.

    Raises:
        StoreError: The file cannot be written.
    """
    path = certificate.with_suffix(HUB_SUFFIX)
    try:
        _write_beside(path, hub.encode(), _PUBLIC).replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error) from error


def renew(config: AgentConfig, config_path: Path) -> Enrolled:
    """Renew the present certificate at the hub that gave it.

    Raises:
        EnrolError: It is not known which that was (``AGENT-ENROL-011``), or as
            :func:`enrol`.
        StoreError: The state folder cannot be written.
    """
    broker = place_tls(config, config_path.resolve().parent)
    path = Path(broker.tls.cert).with_suffix(HUB_SUFFIX)
    try:
        hub = path.read_text("utf-8").strip()
    except OSError as error:
        raise EnrolError(
            "AGENT-ENROL-011",
            f"it is not known which hub renews the certificate: {error}",
            cure="edge-agent enroll --renew --hub URL",
        ) from error
    return enrol(config, config_path, hub, "", None)


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


def _request(key: bytes, device: str) -> bytes:
    return run_openssl(
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
    path = Path(files.cert)
    read_certificate(path)
    certificate = certificate_of(path.read_text("utf-8"))
    signed = f"{RENEW_PURPOSE}\n{csr}".encode()
    signature = run_openssl("dgst", "-sha256", "-sign", files.cert, given=signed)
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
    pair = key + reply.certificate.encode()
    ca, cert = Path(files.ca), Path(files.cert)
    made: list[Path] = []
    try:
        made.append(new_ca := _write_beside(ca, reply.ca.encode(), _PUBLIC))
        made.append(new_cert := _write_beside(cert, pair, _PRIVATE))
        try:
            client_context(str(new_ca), str(new_cert))
        except OSError as error:
            raise EnrolError(
                "AGENT-ENROL-009", f"the hub's answer is not for this key: {error}"
            ) from error
        run_openssl(
            "verify", "-purpose", "sslclient", "-CAfile", str(new_ca), str(new_cert)
        )
        # The authority first: it stays the same, or vouches for both pairs.
        for path, new in ((ca, new_ca), (cert, new_cert)):
            new.replace(path)
            sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error) from error
    finally:
        for new in made:
            new.unlink(missing_ok=True)


def _write_beside(path: Path, data: bytes, mode: int) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)

"""mosquitto's configuration, and the hub's own certificates for broker and HTTP.

The broker knows who is connected from the certificate alone: its common name becomes
user name and client id, so a device can neither use another's topics nor take over
another's session. Devices cannot subscribe their way around it: mosquitto grants a
filter such as ``#``, and checks each message against the rules when it delivers.
"""

import os
import signal
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from edge_agent.wire import topics
from edge_agent.wire.topics import Leaf
from edge_agent.wire.version import TOPIC_PREFIX
from hub.config import BrokerConfig, Home
from hub.errors import HubError, RefusedError
from hub.files import PUBLIC, write_durably
from hub.identity.ca import HUB_USER, WATCH_USER, open_authority
from hub.identity.service import IdentityService
from hub.ingest.shard import MAX_SHARDS
from hub.role import shard_user

PID_FILE = "mosquitto.pid"
LOOPBACK = ("localhost", "127.0.0.1")
_RENEW_BEFORE = timedelta(days=200)
_PRIVATE = 0o600
_BROKERS = 0o755
"""The broker is another user's: it reads all but the key again while it runs."""
_WRITES = ("up/#", Leaf.PRESENCE, Leaf.REPORTED, Leaf.BLOCK_GET)
_READS = (Leaf.DESIRED, Leaf.ACK, Leaf.CMD, Leaf.BLOCK_DATA)


def write_broker(
    folder: Path, identity: IdentityService, hosts: Sequence[str], port: int
) -> None:
    """Write everything that mosquitto needs: configuration, rules, certificates.

    Raises:
        HubError: The folder cannot be written (``HUB-BROKER-001``).
    """
    folder = folder.resolve()
    names = list(dict.fromkeys([*hosts, *LOOPBACK]))
    authority = identity.authority()
    key, certificate = authority.server(names, datetime.now(UTC))
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(_BROKERS)
        (folder / "data").mkdir(exist_ok=True)
        write_durably(folder / "ca.pem", authority.pem, mode=PUBLIC)
        write_durably(folder / "server.key", key, mode=_PRIVATE)
        write_durably(folder / "server.pem", certificate, mode=PUBLIC)
        _write_changing(folder, identity)
        write_durably(
            folder / "mosquitto.conf",
            _configuration(folder, port).encode(),
            mode=PUBLIC,
        )
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_revocations(folder: Path, identity: IdentityService) -> None:
    """Write what a revocation changes: the list, and the rules.

    Raises:
        HubError: The folder cannot be written (``HUB-BROKER-001``).
    """
    try:
        _write_changing(folder, identity)
    except OSError as error:
        raise _unwritable(folder, error) from error


def reload_broker(folder: Path) -> bool:
    """Have the mosquitto of a folder read list and rules again (SIGHUP).

    Returns:
        Whether it runs on this machine and may be signalled.
    """
    try:
        pid = int((folder / PID_FILE).read_text("ascii"))
        name = Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
        if name != "mosquitto":  # an old file: the number is somebody else's now
            return False
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True


def _write_changing(folder: Path, identity: IdentityService) -> None:
    write_durably(folder / "crl.pem", identity.revocations(), mode=PUBLIC)
    denied = sorted(identity.revoked_devices())
    write_durably(folder / "acl", rules(denied).encode(), mode=PUBLIC)


def rules(denied: Sequence[str] = ()) -> str:
    """Return mosquitto's access rules: exactly the topic tree of PROTOCOL.md.

    Args:
        denied: Devices that may neither write nor read anything; the list of
            revocations alone would leave them the session that they have.
    """
    own = f"{TOPIC_PREFIX}/%u"
    lines = [
        "# A device, by the common name of its certificate.",
        *(f"pattern write {own}/{leaf}" for leaf in _WRITES),
        *(f"pattern read {own}/{leaf}" for leaf in _READS),
        f"pattern read {topics.HUB_TUF}",
        "",
        "# hub serve",
        f"user {HUB_USER}",
        f"topic readwrite {TOPIC_PREFIX}/#",
        "",
        "# hub serve --role ingest",
        *(
            line
            for number in range(1, MAX_SHARDS + 1)
            for line in (
                f"user {shard_user(number)}",
                f"topic read {TOPIC_PREFIX}/+/up/#",
                f"topic write {TOPIC_PREFIX}/+/{Leaf.ACK}",
            )
        ),
        "",
        "# hub tail",
        f"user {WATCH_USER}",
        f"topic read {TOPIC_PREFIX}/#",
    ]
    if denied:
        lines += ["", "# Revoked."]
        lines += [line for name in denied for line in (f"user {name}", "topic deny #")]
    return "\n".join(lines) + "\n"


def hub_broker(
    home: Home, broker: BrokerConfig, user: str = HUB_USER, *, suffix: str = ""
) -> BrokerConfig:
    """Return the broker's configuration with files that are there.

    Where TLS names none, these are the home's own: the certificate is made at the
    first use and again when it has not long to live. ``suffix`` is added to the user
    and to the client id.
    """
    broker = msgspec.structs.replace(broker, client_id=broker.client_id + suffix)
    user += suffix
    if not broker.tls.enabled:
        return broker
    tls = broker.tls
    if not tls.ca:
        tls = msgspec.structs.replace(tls, ca=str(home.ca_file))
    if not tls.cert:
        path = home.keys / f"{user}.pem"
        _ensure_client(home, path, user)
        tls = msgspec.structs.replace(tls, cert=str(path), key="")
    return msgspec.structs.replace(broker, tls=tls)


def http_certificate(home: Home, hosts: Sequence[str]) -> Path:
    """Write key and certificate of the HTTP server into one file and return it."""
    authority = open_authority(home, datetime.now(UTC))
    names = list(dict.fromkeys([*filter(None, hosts), *LOOPBACK]))
    path = home.keys / "http-server.pem"
    write_durably(
        path, b"".join(authority.server(names, datetime.now(UTC))), mode=_PRIVATE
    )
    return path


def _ensure_client(home: Home, path: Path, user: str) -> None:
    now = datetime.now(UTC)
    authority = open_authority(home, now)
    try:
        authority.verify(path.read_bytes(), now + _RENEW_BEFORE)
    except (OSError, RefusedError):
        write_durably(path, b"".join(authority.client(user, now)), mode=_PRIVATE)


def _configuration(folder: Path, port: int) -> str:
    lines = [
        "# Written by `hub broker config`. Every client shows a certificate.",
        f"listener {port}",
        "tls_version tlsv1.2",
        f"cafile {folder / 'ca.pem'}",
        f"certfile {folder / 'server.pem'}",
        f"keyfile {folder / 'server.key'}",
        f"crlfile {folder / 'crl.pem'}",
        "require_certificate true",
        "use_identity_as_username true",
        "# Ties the session to the certificate: nobody takes over another's.",
        "use_username_as_clientid true",
        "allow_anonymous false",
        f"acl_file {folder / 'acl'}",
        "# Retained and queued messages survive, but those of the last second.",
        "persistence true",
        f"persistence_location {folder / 'data'}/",
        "autosave_interval 1",
        "# `hub broker revocations` has list and rules read again.",
        f"pid_file {folder / PID_FILE}",
        "max_inflight_messages 100",
        "max_queued_messages 10000",
    ]
    return "\n".join(lines) + "\n"


def _unwritable(folder: Path, error: OSError) -> HubError:
    return HubError(
        "HUB-BROKER-001",
        f"cannot write to {folder}: {error.strerror or error}",
        cure="name a folder that you may write with --to",
    )

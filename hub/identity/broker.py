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
from edge_agent.wire.topics import Lane, Leaf
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
MAX_PACKET_BYTES = (4 << 20) + (64 << 10)
MAX_QUEUED_BYTES = 64 << 20
"""For one client."""
MEMORY_BYTES = 512 << 20
"""For all messages and sessions; beyond it mosquitto refuses what needs more."""
AUTOSAVE_S = 300
_RENEW_BEFORE = timedelta(days=200)
_PRIVATE = 0o600
_BROKERS = 0o755
"""The broker is another user's: it reads all but the key again while it runs."""
_WRITES = (
    *(f"up/{lane}" for lane in Lane),
    Leaf.PRESENCE,
    Leaf.REPORTED,
    Leaf.BLOCK_GET,
)
_READS = (Leaf.DESIRED, Leaf.ACK, Leaf.CMD, Leaf.BLOCK_DATA)


def write_broker(
    folder: Path, identity: IdentityService, hosts: Sequence[str], port: int
) -> None:
    """Write everything that mosquitto needs: configuration, rules, certificates.

    It listens on loopback only, unless ``hosts`` names what others call it.

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
        address = "" if hosts else "127.0.0.1"
        lines = _configuration(folder, port, address)
        write_durably(folder / "mosquitto.conf", lines.encode(), mode=PUBLIC)
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
                f"topic read {topics.any_up()}",
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


def bounds() -> list[str]:
    """Return the lines of mosquitto.conf that bound what clients may make it keep."""
    return [
        "# The hub's metadata is the largest message: 4 MiB, and the packet around it.",
        f"max_packet_size {MAX_PACKET_BYTES}",
        "# What may wait for the hub, or a device, that is away. What does not fit is",
        "# sent again: a device keeps everything until the hub acknowledges it.",
        "max_inflight_messages 100",
        "max_queued_messages 4000",
        f"max_queued_bytes {MAX_QUEUED_BYTES}",
        f"memory_limit {MEMORY_BYTES}",
        "# Acknowledgements are small, and waited for.",
        "set_tcp_nodelay true",
    ]


def persistence(folder: Path) -> list[str]:
    """Return the lines of mosquitto.conf that keep its state in a folder.

    Each save writes everything anew, whether or not anything has changed, and an
    orderly stop saves too. What a crash loses of the last minutes is retained messages,
    which hub and devices publish again when they connect, and batches, which are not
    acknowledged.
    """
    return [
        "persistence true",
        f"persistence_location {folder}/",
        f"autosave_interval {AUTOSAVE_S}",
    ]


def _configuration(folder: Path, port: int, address: str) -> str:
    lines = [
        "# Written by `hub broker config`. Every client shows a certificate.",
        f"listener {port} {address}".rstrip(),
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
        "# Retained and queued messages survive an orderly stop.",
        *persistence(folder / "data"),
        "# `hub broker revocations` has list and rules read again.",
        f"pid_file {folder / PID_FILE}",
        *bounds(),
    ]
    return "\n".join(lines) + "\n"


def _unwritable(folder: Path, error: OSError) -> HubError:
    return HubError(
        "HUB-BROKER-001",
        f"cannot write to {folder}: {error.strerror or error}",
        cure="name a folder that you may write with --to",
    )

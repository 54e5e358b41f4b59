"""``edge-agent join``: from a device that works alone to a device of a fleet, in one.

The file that the hub wrote has the root to trust, the broker, and a token. What the
device had stays: its model as the factory model, its sources and sinks, its API.

What happens when it dies: ``agent.toml`` is written last and in one rename, so until
then the device is what it was, and the command can be repeated. A certificate that was
bought already is used again (the token is worth nothing a second time).
"""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.base.exit_codes import ExitCode
from edge_agent.base.regular import read_regular
from edge_agent.base.settings import SettingsError
from edge_agent.base.toml import dump
from edge_agent.config import AgentConfig, place_tls
from edge_agent.enrol import enrol
from edge_agent.errors import AgentError, EnrolError
from edge_agent.openssl import read_certificate
from edge_agent.store.disk import write_durably
from edge_agent.store.lock import is_locked
from edge_agent.wire.codec import MAX_DOCUMENT_BYTES, decode
from edge_agent.wire.enrol import JoinFile
from edge_agent.wire.errors import WireError

CONFIG_FILE, ROOT_FILE, JOIN_CA_FILE = "agent.toml", "root.json", "join-ca.pem"
BEFORE_SUFFIX = ".before"


class JoinFileError(AgentError):
    """A file that cannot be joined with (``AGENT-JOIN-001``)."""

    exit_code = ExitCode.USAGE


class JoinConflictError(AgentError):
    """The device cannot join as it is now (``AGENT-JOIN-002`` to ``-004``)."""

    exit_code = ExitCode.CONFLICT


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What the device is now."""

    device: str
    config: str
    broker: str
    factory: str
    """The model that answers until a release comes; empty: none."""

    def lines(self) -> list[str]:
        """Return the result as text."""
        kept = f", its model stays as {self.factory}" if self.factory else ""
        return [
            f"{self.device} has joined the fleet at {self.broker}{kept}",
            f"start it: edge-agent run --config {self.config}",
        ]


def join(file: Path, folder: Path) -> Joined:
    """Join the fleet that a file is for.

    Args:
        file: What ``hub devices join-file`` wrote.
        folder: Where ``agent.toml`` is, or will be.

    Raises:
        JoinFileError: The file cannot be read.
        JoinConflictError: An agent runs there, or belongs to another fleet.
        EnrolError: The hub refuses or cannot be reached.
        StoreError: The folder cannot be written.
    """
    wanted = _read_file(file)
    path = folder / CONFIG_FILE
    before = _read_config(path)
    table = _joined(before, wanted)
    config = msgspec.convert(table, AgentConfig)
    _refuse_conflict(before, folder, config, wanted)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JoinConflictError(
            "AGENT-JOIN-004", f"{folder} cannot be made: {error}"
        ) from error
    write_durably(folder / ROOT_FILE, wanted.root.encode())
    if wanted.token and not _has_certificate(config, folder):
        ca = folder / JOIN_CA_FILE
        write_durably(ca, wanted.ca.encode())
        try:
            enrol(config, path, wanted.hub, wanted.token, ca)
        finally:
            ca.unlink(missing_ok=True)
    if path.exists():
        write_durably(path.with_name(path.name + BEFORE_SUFFIX), path.read_bytes())
    write_durably(path, dump(table).encode())
    return Joined(
        device=wanted.device,
        config=str(path),
        broker=f"{wanted.broker_host}:{wanted.broker_port}",
        factory=config.factory.bundle,
    )


def _read_file(file: Path) -> JoinFile:
    try:
        return decode(read_regular(file, MAX_DOCUMENT_BYTES, follow=True), JoinFile)
    except (OSError, WireError) as error:
        raise JoinFileError(
            "AGENT-JOIN-001",
            f"{file}: {error}",
            cure="write one on the hub: hub devices join-file DEVICE --to FILE",
        ) from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError("AGENT-JOIN-005", f"{path}: {error}") from error
    try:
        msgspec.convert(table, AgentConfig)
    except msgspec.ValidationError as error:
        raise SettingsError("AGENT-JOIN-005", f"{path}: {error}") from error
    return table


def _joined(before: dict[str, Any], wanted: JoinFile) -> dict[str, Any]:
    """Return the configuration with what the file says, and all else as it was."""
    broker = {"host": wanted.broker_host, "port": wanted.broker_port}
    if wanted.broker_tls:
        broker["tls"] = {"enabled": True}
    if wanted.allow_plaintext:
        broker["allow_plaintext"] = True
    return {
        **before,
        "device": {**before.get("device", {}), "id": wanted.device},
        "trust": {"root": ROOT_FILE},
        "broker": broker,
    }


def _refuse_conflict(
    before: dict[str, Any], folder: Path, config: AgentConfig, wanted: JoinFile
) -> None:
    state_dir = folder / config.device.state_dir
    if is_locked(state_dir):
        raise JoinConflictError(
            "AGENT-JOIN-002",
            f"an agent works in {state_dir}",
            cure="stop it, join, and start it again",
        )
    root = before.get("trust", {}).get("root", "")
    if not root:
        return
    try:
        known = (folder / root).read_text("utf-8")
    except OSError:
        known = ""
    if known not in {"", wanted.root} or before["device"]["id"] != wanted.device:
        raise JoinConflictError(
            "AGENT-JOIN-003",
            f"{folder / CONFIG_FILE} belongs to {before['device']['id']} of a fleet"
            " already",
            cure="join in another folder, or remove its state folder and"
            f" {CONFIG_FILE} first",
        )


def _has_certificate(config: AgentConfig, folder: Path) -> bool:
    """Tell whether an earlier attempt bought the certificate already."""
    path = Path(place_tls(config, folder.resolve()).tls.cert)
    try:
        return path.exists() and read_certificate(path).name == config.device.id
    except EnrolError:
        return False

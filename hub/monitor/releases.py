"""What the monitor needs of a release: its channels, thresholds and reference id."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from edge_agent.wire import codec
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import FileRef
from edge_agent.wire.profile import Channel, ReferenceProfile
from hub.config import Home
from hub.monitor.thresholds import Thresholds
from hub.storage.releases import get_release

log = logging.getLogger(__name__)

MONITOR_BLIND = "monitor.blind"


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredRelease:
    """A release that devices can be scored against.

    ``overlap``: in how many windows of the stream a row of input stands.
    """

    release: int
    overlap: float
    reference: str
    channels: tuple[Channel, ...]
    thresholds: Thresholds


def read_monitored(engine: Engine, home: Home, release: int) -> MonitoredRelease | None:
    """Read a release's reference profile and thresholds.

    Returns:
        ``None`` (logged) if the release is unknown, or its reference file is missing
        or not the one that was signed: nothing can be said of drift then.
    """
    with engine.connect() as connection:
        row = get_release(connection, release)
    if row is None:
        return None
    file = row.manifest.bundle.reference
    try:
        reference = _read_reference(home.releases / str(release) / file.name, file)
        thresholds = msgspec.json.decode(row.thresholds, type=Thresholds)
    except (OSError, WireError, msgspec.MsgspecError) as error:
        log.warning(MONITOR_BLIND, extra={"release": release, "reason": str(error)})
        return None
    if len(thresholds.scales) != len(reference.channels):
        reason = "thresholds and reference have different channels"
        log.warning(MONITOR_BLIND, extra={"release": release, "reason": reason})
        return None
    shape = row.manifest.bundle.input.tensor.shape
    hop = row.manifest.bundle.input.hop
    return MonitoredRelease(
        release=release,
        overlap=max(1.0, shape[0] / hop) if hop and shape else 1.0,
        reference=file.sha256,
        channels=tuple(reference.channels),
        thresholds=thresholds,
    )


def read_reference(
    engine: Engine, home: Home, release: int, sha256: str
) -> ReferenceProfile | None:
    """Read the reference profile ``sha256`` of a release; ``None`` if it is gone."""
    with engine.connect() as connection:
        row = get_release(connection, release)
    if row is None or row.manifest.bundle.reference.sha256 != sha256:
        return None
    file = row.manifest.bundle.reference
    try:
        return _read_reference(home.releases / str(release) / file.name, file)
    except (OSError, WireError):
        return None


def _read_reference(path: Path, file: FileRef) -> ReferenceProfile:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise WireError("WIRE-PROFILE-001", f"{path} is not what was released")
    return codec.decode(data, ReferenceProfile)

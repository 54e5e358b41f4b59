"""``edge-agent outbox export`` and ``purge``: what the device holds, by hand.

Both work whether the agent runs or not. Exporting deletes nothing; purging counts what
it deletes as evicted.
"""

import contextlib
import os
from pathlib import Path

import msgspec

from edge_agent.config import AgentConfig
from edge_agent.errors import AgentError
from edge_agent.status import database_path
from edge_agent.store.disk import PART_SUFFIX
from edge_agent.store.outbox import Held, Outbox
from edge_agent.wire.topics import Lane

_OWNER_ONLY = 0o600


class ExportError(AgentError):
    """The file cannot be written (AGENT-CLI-003)."""


class HeldRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an export."""

    boot: str
    lane: Lane
    seq: int
    record: msgspec.Raw


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export holds."""

    file: str
    records: int
    lanes: dict[str, int]

    def lines(self) -> list[str]:
        """Return it as text."""
        lanes = ", ".join(f"{lane} {n}" for lane, n in self.lanes.items() if n)
        return [f"{self.records} records ({lanes or 'none held'}) in {self.file}"]


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """What a purge deleted."""

    lane: Lane
    records: int
    bytes: int

    def lines(self) -> list[str]:
        """Return it as text."""
        return [f"{self.records} records of lane {self.lane} evicted"]


def export_outbox(config: AgentConfig, config_path: Path, to: Path) -> Exported:
    """Write every record that waits as a line of JSON; the file appears when whole.

    Only its owner may read it: samples are raw inputs.

    Raises:
        NoStateError: The agent has never run here.
        StoreError: The database cannot be read.
        ExportError: The file cannot be written.
    """
    outbox = Outbox(database_path(config, config_path), "", config.outbox)
    part = to.with_name(to.name + PART_SUFFIX)
    lanes = dict.fromkeys((lane.value for lane in Lane), 0)
    try:
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(handle, "wb") as file:
            for held in outbox.held():
                file.write(_line(held))
                lanes[held.lane.value] += 1
        part.replace(to)
    except OSError as error:
        raise ExportError(
            "AGENT-CLI-003",
            f"cannot write {to}: {error.strerror or error}",
            cure="name a file in a folder that you may write and that has room",
        ) from error
    finally:
        outbox.close()
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return Exported(file=str(to), records=sum(lanes.values()), lanes=lanes)


def purge_lane(config: AgentConfig, config_path: Path, lane: Lane) -> Purged:
    """Delete what a lane holds, unsent, as evictions.

    Raises:
        NoStateError: The agent has never run here.
        StoreError: The database cannot be written; nothing was deleted.
    """
    outbox = Outbox(database_path(config, config_path), "", config.outbox)
    try:
        records, size = outbox.purge(lane)
    finally:
        outbox.close()
    return Purged(lane=lane, records=records, bytes=size)


def _line(held: Held) -> bytes:
    record = HeldRecord(
        boot=held.boot, lane=held.lane, seq=held.seq, record=msgspec.Raw(held.body)
    )
    return msgspec.json.encode(record) + b"\n"

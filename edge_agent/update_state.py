"""``edge-agent update status``: how far updates are, from the state folder alone.

Reading never changes anything, and works whether the agent runs or not. Metadata is
read as the agent keeps it, which it does only after it has verified it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edge_agent.base.clock import SystemClock, is_synchronised
from edge_agent.config import AgentConfig
from edge_agent.obstacle_note import read_obstacle
from edge_agent.status import database_path
from edge_agent.store.db import DB_FILE
from edge_agent.store.lock import is_locked
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.update.hub_word import ONLINE_KEYS, TIME_FLOOR
from edge_agent.update.inbox import INBOX
from edge_agent.update.penalty import penalty_until
from edge_agent.update.trusted_time import TrustedTime
from edge_agent.wire.control import Obstacle
from edge_agent.wire.records import PairedSummary

TUF = "tuf"
ROLES = ("root", "timestamp", "snapshot", "targets", "models")


class RoleState(msgspec.Struct, frozen=True, kw_only=True):
    """Verified metadata of one role."""

    role: str
    version: int
    expires_at: float


class UpdateState(msgspec.Struct, frozen=True, kw_only=True):
    """What ``edge-agent update status`` says."""

    device: str
    running: bool
    phase: str
    active: int
    previous: int
    candidate: int
    assignment_seq: int
    assigned: int
    rollout: str
    outcome: str
    """How the newest assignment ended; empty: it has not, or there was none."""
    code: str
    detail: str
    attempts: int
    quarantined: tuple[int, ...]
    pinned: bool
    """Whether a person at the device holds it on what it runs."""
    evidence: str
    """What the commit of the active release rests on; empty: it was not asked for."""
    answered: int
    """Live predictions of it, as far as they were counted for that."""
    paired: PairedSummary | None
    """What the paired test found of it."""
    penalty_until: float
    """Until when the device takes up no release that is new to it (0: it does)."""
    metadata: list[RoleState]
    trusted_now: float
    """What expiry is judged at."""
    clock_trusted: bool
    brought: bool
    """A folder was handed over that is not carried out yet."""
    obstacle: Obstacle | None
    """What they wait for."""

    def lines(self) -> list[str]:
        """Return it as text."""
        lines = [
            f"device       {self.device}",
            f"agent        {'running' if self.running else 'stopped'}",
            f"slots        {self._slots()}",
            f"phase        {self.phase}",
            f"assignment   {self._assignment()}",
            f"attempts     {self.attempts}",
            f"quarantined  {', '.join(map(str, self.quarantined)) or 'none'}",
            f"clock        {'right' if self.clock_trusted else 'cannot be right'}",
            f"now          {_text(self.trusted_now)}, as far as expiry goes",
        ]
        lines += self._evidence()
        if self.pinned:
            lines.append("pinned       takes up no other release")
        if self.penalty_until:
            until = _text(self.penalty_until)
            lines.append(f"penalty      takes up nothing new until {until}")
        if self.obstacle:
            lines.append(f"waits for    {self.obstacle.code}: {self.obstacle.text}")
        if self.brought:
            lines.append("brought      a folder waits to be carried out")
        if not self.metadata:
            lines.append("metadata     none yet")
        for role in self.metadata:
            late = ", EXPIRED" if role.expires_at <= self.trusted_now else ""
            lines.append(
                f"metadata     {role.role} {role.version},"
                f" until {_text(role.expires_at)}{late}"
            )
        return lines

    def _slots(self) -> str:
        tried = f", candidate {self.candidate}" if self.candidate else ""
        return f"active {self.active}, previous {self.previous}{tried}"

    def _evidence(self) -> list[str]:
        lines = []
        if self.evidence:
            lines.append(f"evidence     {self.evidence}: {self.answered} predictions")
        if self.paired is not None:
            found = self.paired
            lines.append(
                f"paired test  {found.result} ({found.source}): {found.reason}"
            )
        return lines

    def _assignment(self) -> str:
        if not self.assignment_seq:
            return "none yet"
        text = f"{self.assignment_seq}, release {self.assigned}"
        text += f": {self.outcome or 'under way'}"
        return f"{text}, {self.code}: {self.detail}" if self.code else text


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """What updates have left in a state folder; empty where no agent ever ran."""

    folder: Path
    slots: Slots
    time: TrustedTime
    keys: str
    obstacle: Obstacle | None = None

    def seen(self, keys: str) -> int:
        """Return the newest assignment taken up, where ``keys`` sign assignments.

        Under other keys than before none counts as seen.
        """
        return self.slots.seq if self.keys in {"", keys} else 0


def read_device_state(config: AgentConfig, config_path: Path) -> DeviceState:
    """Read a state folder.

    Raises:
        StoreError: The database cannot be read.
    """
    folder = config_path.resolve().parent / config.device.state_dir
    slots, floor_at, keys, obstacle = Slots(), 0.0, "", None
    if (folder / DB_FILE).exists():
        store = SlotStore(folder / DB_FILE)
        try:
            slots, floor_at = store.read(), store.read_number(TIME_FLOOR)
            keys, obstacle = store.read_text(ONLINE_KEYS), read_obstacle(store)
        finally:
            store.close()
    time = TrustedTime(SystemClock(), floor_at, is_synchronised)
    return DeviceState(
        folder=folder, slots=slots, time=time, keys=keys, obstacle=obstacle
    )


def read_update_state(config: AgentConfig, config_path: Path) -> UpdateState:
    """Return how far updates are.

    Raises:
        NoStateError: The agent has never run here.
        StoreError: The database cannot be read.
    """
    database_path(config, config_path)
    state = read_device_state(config, config_path)
    slots, assignment = state.slots, state.slots.assignment
    running = is_locked(state.folder)
    return UpdateState(
        device=config.device.id,
        running=running,
        phase=slots.phase,
        active=slots.active,
        previous=slots.previous,
        candidate=slots.candidate,
        assignment_seq=slots.seq,
        assigned=assignment.release if assignment else 0,
        rollout=assignment.rollout if assignment else "",
        outcome=slots.outcome,
        code=slots.code,
        detail=slots.detail,
        attempts=slots.attempts,
        quarantined=slots.quarantined,
        pinned=slots.pinned,
        evidence=slots.evidence,
        answered=slots.answered,
        paired=slots.paired,
        penalty_until=penalty_until(slots, state.time.now()),
        metadata=read_roles(state.folder / TUF),
        trusted_now=state.time.now(),
        clock_trusted=state.time.is_trusted,
        brought=(state.folder / INBOX).exists(),
        obstacle=state.obstacle if running else None,
    )


class _Signed(msgspec.Struct, frozen=True):
    version: int
    expires: datetime


class _File(msgspec.Struct, frozen=True):
    signed: _Signed


def read_roles(folder: Path) -> list[RoleState]:
    """Return what a folder of verified metadata holds."""
    found: list[RoleState] = []
    for role in ROLES:
        try:
            data = (folder / f"{role}.json").read_bytes()
            signed = msgspec.json.decode(data, type=_File).signed
        except (OSError, msgspec.MsgspecError):
            continue
        found.append(
            RoleState(
                role=role,
                version=signed.version,
                expires_at=signed.expires.timestamp(),
            )
        )
    return found


def _text(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M UTC}"

"""A device's update side in this process: real journal, trust and runner.

Its clocks are turned by hand, nothing comes over a network, and the worker loads
nothing. What it would tell the hub is in its outbox.
"""

from dataclasses import dataclass
from pathlib import Path

from edge_agent.config import OutboxConfig
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.update.commands import Commands
from edge_agent.update.download import Ways
from edge_agent.update.hub_word import HubWord
from edge_agent.update.metadata import Trust
from edge_agent.update.phases import Phases
from edge_agent.update.runner import UpdateRunner
from edge_agent.update.shadow import ShadowState
from edge_agent.update.worker_port import Loaded, WorkerFigures
from edge_agent.wire.batch import decode_record
from edge_agent.wire.control import Command
from edge_agent.wire.records import AnyRecord, UpdateRecord
from edge_agent.wire.topics import Lane

BOOT = "a" * 16
NOWHERE = "http://127.0.0.1:9"
"""Nobody answers there: an assignment that is believed comes as far as DOWNLOAD."""


@dataclass
class DeviceClock:
    """A wall clock, right or wrong, and a steady one."""

    at: float
    steady: float = 100.0

    def wall(self) -> float:
        """Return what the system says."""
        return self.at

    def mono(self) -> float:
        """Return steady seconds."""
        return self.steady


class IdleWorker:
    """A worker that has nothing loaded."""

    def reload(self) -> Loaded:
        """Load nothing."""
        return Loaded()

    def figures(self) -> WorkerFigures:
        """Have predicted nothing."""
        raise NotImplementedError

    def shadow(self) -> ShadowState:
        """Have no shadow."""
        raise NotImplementedError


class UpdatingDevice:
    """One device; :meth:`restart` is a new process over the same files."""

    def __init__(
        self, folder: Path, root: bytes, clock: DeviceClock, *, is_kept: bool = False
    ) -> None:
        """Start it; ``is_kept``: a time service sets its clock."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._root, self._is_kept = folder, root, is_kept
        self.clock = clock
        self.told: list[tuple[Slots, bool]] = []
        self.commands_done: list[Command] = []
        self.restart()

    def restart(self) -> None:
        """Begin anew with what is on disk."""
        self.slots = SlotStore(self._folder / "agent.db", BOOT)
        self.trust = Trust(self._folder / "tuf", self._root)
        phases = Phases(
            ArtifactStore(self._folder),
            self.trust,
            IdleWorker(),
            Ways(interrupted=lambda: False),
        )
        self.runner = UpdateRunner(
            "d1", self.slots, phases, self.clock, on_change=self._note
        )
        self.runner._word = HubWord(self.slots, self.clock, lambda: self._is_kept)
        self.commands = Commands(
            "d1", self.slots, self.trust.verify, self.commands_done.append
        )
        self.runner.recover()

    def settle(self, seconds: float = 20.0) -> str:
        """Let time pass until something waits; return the phase then."""
        end = self.clock.steady + seconds
        while self.clock.steady < end:
            pause_s = min(max(0.01, self.runner.tick()), end - self.clock.steady)
            self.clock.steady += pause_s
            self.clock.at += pause_s
        return self.runner.state.phase

    def reports(self) -> list[UpdateRecord]:
        """Return the ends of activations that the hub will hear of."""
        found = self._records(Lane.STATE)
        return [r for r in found if isinstance(r, UpdateRecord) and r.outcome]

    def alerts(self) -> list[AnyRecord]:
        """Return the events that the hub will hear of."""
        return self._records(Lane.ALERT)

    def _records(self, lane: Lane) -> list[AnyRecord]:
        outbox = Outbox(self._folder / "agent.db", BOOT, OutboxConfig())
        rows = outbox.read(BOOT, lane, 0, max_records=999, max_bytes=1 << 30)
        outbox.close()
        return [decode_record(body) for _, body in rows]

    def _note(self, state: Slots) -> None:
        self.told.append((state, self.runner.clock_is_trusted))

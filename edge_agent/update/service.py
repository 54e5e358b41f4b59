"""The update thread: one inbox for assignments, metadata, commands and crash loops.

Anything that arrives interrupts a download or a self-test at the next chance, so the
newest assignment never waits for an older one. Errors of the store are logged and the
work is tried again; the journal is never ahead of what is on disk.
"""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from edge_agent.base.clock import Clock
from edge_agent.config import OutboxConfig
from edge_agent.errors import StoreError, UpdateError
from edge_agent.evidence.memory import NO_MEMORY, EvidenceMemory
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.update.commands import Commands
from edge_agent.update.desk import Desk
from edge_agent.update.download import BlockPort, Ways
from edge_agent.update.inbox import Inbox
from edge_agent.update.metadata import Trust
from edge_agent.update.obstacles import Obstacles, Where
from edge_agent.update.phases import Phases
from edge_agent.update.runner import UpdateRunner
from edge_agent.update.trials import Trials, paired_on
from edge_agent.update.worker_port import Worker
from edge_agent.wire.control import Command, Obstacle, TufBundle, TufVersions
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.records import EventRecord

STORE_FAILED = "store.failed"
NO_ROOT = "update.no_root"
INBOX_FULL = "update.inbox_full"
INBOX = 64
POLL_S = 0.25
STORE_PAUSE_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentCame:
    """A signed assignment, not yet verified."""

    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCame:
    """A signed command, not yet verified."""

    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashLoop:
    """The worker dies again and again since it loaded ``release``.

    ``done`` is set when that is journalled.
    """

    release: int
    done: threading.Event = field(default_factory=threading.Event)


Message = AssignmentCame | CommandCame | TufBundle | CrashLoop


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSettings:
    """Whose updates these are, and where their state is."""

    device: str
    boot: str
    state_dir: Path
    database: Path
    root: bytes
    outbox: OutboxConfig
    ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePorts:
    """What updates need of the rest of the agent."""

    worker: Worker
    carry_out: Callable[[Command], None]
    on_change: Callable[[Slots, TufVersions], None]
    blocks: BlockPort | None = None
    evidence: EvidenceMemory = NO_MEMORY
    """The ring of own inputs, which paired tests read."""


class UpdateService:
    """Runs the activations and commands of one agent."""

    def __init__(
        self, settings: UpdateSettings, ports: UpdatePorts, clock: Clock
    ) -> None:
        """Wire it up; :meth:`run` is the body of the update thread."""
        self._settings = settings
        self._ports = ports
        self._clock = clock
        self._inbox: queue.Queue[Message] = queue.Queue(INBOX)
        self._stop = threading.Event()
        self._penalty_until: Callable[[], float] = float
        self._clock_untrusted: Callable[[], bool] = bool
        self._obstacles: Obstacles | None = None
        self._store_failed = False

    def obstacle(self) -> Obstacle | None:
        """Return what updates wait for, if anything."""
        return self._obstacles.present if self._obstacles is not None else None

    def penalty_until(self) -> float:
        """Return until when nothing new is taken up (0: it is)."""
        return self._penalty_until()

    def clock_untrusted(self) -> bool:
        """Tell whether the device's clock cannot be right."""
        return self._clock_untrusted()

    def offer(self, message: Message) -> None:
        """Hand in a message; any thread may. A full inbox drops it, logged.

        What is retained comes again with the next session, and the hub repeats a
        command until it expires.
        """
        try:
            self._inbox.put_nowait(message)
        except queue.Full:
            log.warning(INBOX_FULL, extra={"kind": type(message).__name__})

    def stop(self) -> None:
        """End :meth:`run` at the next chance; the journal knows where to go on."""
        self._stop.set()

    def run(self) -> None:
        """Carry out what comes until :meth:`stop`.

        A root that is none ends updates, and nothing else: the device goes on with
        what it has and says so.

        Raises:
            AgentError: The journal cannot be read.
        """
        settings = self._settings
        slots = SlotStore(settings.database, settings.boot, settings.outbox)
        try:
            trust = Trust(settings.state_dir / "tuf", settings.root)
        except UpdateError as error:
            log.error(NO_ROOT, extra={"error": str(error)})  # noqa: TRY400 - it is all
            state = slots.read()
            self._obstacles = Obstacles(
                self._clock,
                lambda: self._ports.on_change(state, TufVersions()),
                after_s=0.0,
            )
            self._obstacles.note(Where.ROOT, error)
            self._stop.wait()
            slots.close()
            return
        self._follow(slots, trust)
        slots.close()

    def _follow(self, slots: SlotStore, trust: Trust) -> None:
        settings = self._settings
        brought = Inbox(settings.state_dir)
        desk = Desk(settings.state_dir)
        phases = Phases(
            ArtifactStore(settings.state_dir),
            trust,
            self._ports.worker,
            Ways(
                interrupted=lambda: (
                    self._stop.is_set()
                    or not self._inbox.empty()
                    or brought.has_news()
                    or desk.has_wish()
                ),
                ca=settings.ca,
                blocks=self._ports.blocks,
                tell=lambda error: slots.write(runner.state, [self._event(error)]),
                local=brought.artifacts,
            ),
            Trials(paired=paired_on(self._ports.evidence.fd)),
        )
        runner = UpdateRunner(
            settings.device,
            slots,
            phases,
            self._clock,
            on_change=lambda state: self._ports.on_change(state, trust.versions),
        )
        self._obstacles = runner.obstacles
        self._penalty_until = runner.penalty_until
        self._clock_untrusted = lambda: not runner.clock_is_trusted
        commands = Commands(settings.device, slots, trust.verify, self._ports.carry_out)
        self._ports.on_change(runner.state, trust.versions)
        self._try(runner.recover)
        wait_s = 0.0
        while not self._stop.is_set():
            message = self._next(wait_s)
            if message is not None:
                self._try(partial(self._handle, message, runner, commands))
            self._try(lambda: desk.look(runner))
            self._try(lambda: brought.look(runner))
            self._try(lambda: commands.tick(runner.trusted_now()))
            wait_s = self._try(runner.tick) or 0.0
            if not self._store_failed:
                runner.obstacles.clear(Where.STORE)
            self._store_failed = False

    def _event(self, error: UpdateError) -> EventRecord:
        return EventRecord(
            at=self._clock.wall(), code=error.code, severity="warning", text=error.text
        )

    def _next(self, wait_s: float) -> Message | None:
        try:
            return self._inbox.get(timeout=min(max(wait_s, 0.001), POLL_S))
        except queue.Empty:
            return None

    def _handle(
        self, message: Message, runner: UpdateRunner, commands: Commands
    ) -> None:
        if isinstance(message, AssignmentCame):
            runner.on_desired(message.envelope)
        elif isinstance(message, CommandCame):
            commands.on_command(message.envelope, runner.trusted_now())
        elif isinstance(message, TufBundle):
            runner.on_metadata(message)
        else:
            runner.on_crash_loop(message.release)
            message.done.set()

    def _try(self, call: Callable[[], float | None]) -> float | None:
        try:
            return call()
        except StoreError as error:
            self._store_failed = True
            if self._obstacles is not None:
                self._obstacles.note(Where.STORE, error)
            log.warning(STORE_FAILED, extra={"error": str(error)})
            self._stop.wait(STORE_PAUSE_S)
            return None

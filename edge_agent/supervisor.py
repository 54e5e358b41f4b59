"""Composition root of ``edge-agent run``: everything of the device but inference.

It decides what runs in which thread and in which order things stop. It owns the state
folder (one agent a folder), the boot id, the broker connection, the relay, the updates
and the worker process, and it never imports an interpreter, so no model can kill it.
Without a broker it goes on and says so once. A thread that dies takes the process
down with exit code 1: whoever started it starts it again.

Threads: ``main`` (heartbeat), ``link`` (connecting), ``relay`` (sending, receiving),
``update`` (activations, commands), ``worker`` and ``watchdog`` (watching the child),
``identity`` (renewing the certificate), ``disk`` (syncing the write-ahead log).
"""

import contextlib
import logging
import os
import queue
import secrets
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from msgspec import UNSET

from edge_agent.base.clock import SystemClock
from edge_agent.base.exit_codes import ExitCode
from edge_agent.base.installed import use_backend
from edge_agent.child import ChildHooks, Death, WorkerChild, worker_command
from edge_agent.config import AgentConfig, BrokerConfig, place_tls
from edge_agent.enrol import renew
from edge_agent.errors import AgentError, StoreError, WorkerError
from edge_agent.evidence.memory import EvidenceMemory, open_memory
from edge_agent.heartbeat import (
    SOCKET_FILE,
    Heartbeat,
    WorkerPort,
    tell_of_worker,
)
from edge_agent.link.birth import describe_device
from edge_agent.link.blocks import BlockLink
from edge_agent.link.mqtt import MqttLink
from edge_agent.link.session import Delivery, LinkSession, SessionPorts
from edge_agent.link.twin import CommandReceived, Desired, Twin
from edge_agent.notify import ServiceManager
from edge_agent.obstacle_note import ObstacleNote
from edge_agent.opening import open_database, read_root
from edge_agent.openssl import read_certificate
from edge_agent.renewal import Renewal, RenewalPorts
from edge_agent.store.db import DB_FILE
from edge_agent.store.factory import factory_model
from edge_agent.store.flush import LogFlusher
from edge_agent.store.lock import take_lock
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.store.trouble import StoreTrouble
from edge_agent.update.factory import REFUSED, try_factory
from edge_agent.update.service import (
    AssignmentCame,
    CommandCame,
    CrashLoop,
    UpdatePorts,
    UpdateService,
    UpdateSettings,
)
from edge_agent.watchdog import Watchdog, death_event
from edge_agent.wire.control import Reported, TufVersions
from edge_agent.wire.records import AnyRecord, EventRecord

AGENT_STARTED = "agent.started"
AGENT_STOPPED = "agent.stopped"
THREAD_DIED = "thread.died"

MAIN_POLL_S = 0.25
STORE_PAUSE_S = 1.0
CRASH_WAIT_S = 10.0

log = logging.getLogger(__name__)


class Supervisor:
    """One agent process."""

    def __init__(self, config: AgentConfig, config_path: Path) -> None:
        """Lock the state folder, open the database, prepare; nothing runs yet.

        Raises:
            AgentError: The state folder is in use or not writable, the root cannot be
                read, or the broker may not be spoken to.
        """
        path = config_path.resolve()
        self._config = config
        use_backend(config.worker.backend)  # Worker and self-tests are children.
        broker = place_tls(config, path.parent)
        self._state_dir = path.parent / config.device.state_dir
        self._database = self._state_dir / DB_FILE
        self._clock = SystemClock()
        self._service = ServiceManager(os.environ, self._clock)
        self._boot = secrets.token_hex(8)
        self._stop = threading.Event()
        self._failed = False
        self._events: queue.SimpleQueue[AnyRecord] = queue.SimpleQueue()
        self._waiting: list[AnyRecord] = []
        self._tuf = TufVersions()
        root = read_root(path.parent / config.trust.root)
        now = self._clock.wall()
        self._twin = Twin(describe_device(config, self._boot, now))
        self._link = MqttLink(
            config.device.id,
            broker,
            subscriptions=self._twin.subscriptions,
            will=(self._twin.presence_topic, self._twin.death(now)),
        )
        self._blocks = BlockLink(config.device.id, self._link)
        self._lock = take_lock(self._state_dir)
        self._slots = open_database(
            self._database, self._boot, config.outbox, self._clock
        )
        self._evidence = self._open_evidence()
        self._worker = WorkerPort(self._state_dir / SOCKET_FILE)
        self._session = LinkSession(
            config, self._link, self._twin, self._clock, boot=self._boot
        )
        self._updates = self._make_updates(root, broker)
        self._renewal = self._make_renewal(path, broker)
        self._factory = factory_model(config, path.parent)
        hooks = ChildHooks(on_death=self._on_death, on_crash_loop=self._on_crash_loop)
        command = worker_command(path, self._boot, self._evidence)
        self._child = WorkerChild(command, self._clock, hooks, self._evidence.fds)
        self._watchdog = Watchdog(
            self._child,
            self._worker.check,
            self._clock,
            period_s=config.worker.watchdog_s,
            on_answer=self._on_answer,
        )

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        log.info(
            AGENT_STARTED, extra={"device": self._config.device.id, "boot": self._boot}
        )
        self._child.follow(self._slots)
        ports = SessionPorts(
            deliver=self._deliver,
            reported=self._reported,
            block=self._blocks.deliver,
        )
        flusher = LogFlusher(self._database)
        bodies: dict[str, Callable[[], None]] = {
            "disk": lambda: flusher.run(self._stop),
            "link": self._link.run,
            "relay": lambda: self._session.run(self._database, ports),
            "update": self._updates.run,
            "watchdog": lambda: self._watchdog.run(self._stop),
            "worker": self._run_worker,
        }
        if (renewal := self._renewal) is not None:
            bodies["identity"] = lambda: renewal.run(self._stop)
        threads = {
            name: threading.Thread(target=self._guard, args=(name, body), name=name)
            for name, body in bodies.items()
        }
        for thread in threads.values():
            thread.start()
        self._guard("main", self._beat)
        self._wind_down(threads)
        self._lock.close()
        log.info(AGENT_STOPPED, extra={"boot": self._boot})
        return ExitCode.FAILED if self._failed else ExitCode.OK

    def _guard(self, name: str, body: Callable[[], None]) -> None:
        try:
            body()
        except Exception:
            self._failed = True
            log.exception(THREAD_DIED, extra={"body": name})
            self._stop.set()

    def _run_worker(self) -> None:
        """Let the factory model pass its self-test, then keep the worker running."""
        if self._factory is not None:
            why = try_factory(self._factory, self._stop.is_set)
            if why:
                event = EventRecord(
                    at=self._clock.wall(),
                    code=REFUSED,
                    severity="critical",
                    text=f"the factory model is not served: {why}"[:1000],
                )
                self._events.put(event)
        self._child.run()

    def _wind_down(self, threads: dict[str, threading.Thread]) -> None:
        """End the others: the worker first, as it flushes its last window."""
        self._service.stopping()
        self._updates.stop()
        self._child.stop()
        threads["worker"].join()
        threads["update"].join()
        self._guard("main", self._append_last_events)
        self._session.leave()
        threads["relay"].join()
        death = self._twin.death(self._clock.wall())
        self._link.stop((self._twin.presence_topic, death))
        threads["link"].join()
        for name in threads.keys() & {"disk", "identity", "watchdog"}:
            threads[name].join()
        self._worker.close()

    def _beat(self) -> None:
        """Report health until told to stop."""
        outbox = Outbox(self._database, self._boot, self._config.outbox)
        slots = SlotStore(self._database)
        waits = ObstacleNote(slots)
        heartbeat = Heartbeat(self._worker, self._child, self._clock)
        trouble = StoreTrouble(self._clock)
        due = self._clock.mono() + min(1.0, self._config.health.period_s)
        while not self._stop.wait(MAIN_POLL_S):
            self._look_at_worker()
            waits.look(self._updates.obstacle())
            is_due = self._clock.mono() >= due
            try:
                self._append_events(outbox)
                self._tell_trouble(trouble, outbox)
                if is_due:
                    due = self._clock.mono() + self._config.health.period_s
                    outbox.append([heartbeat.measure(outbox.stats())])
                    self._session.report_soon()
            except StoreError as error:
                trouble.failed(error, lost=int(is_due))
                self._stop.wait(STORE_PAUSE_S)
        slots.close()
        outbox.close()

    def _look_at_worker(self) -> None:
        """Ask a worker that has just started what it has loaded."""
        before = self._worker.loaded
        settled = bool(before.sha256) or not self._factory
        if before.release == self._slots.active and settled:
            return
        with contextlib.suppress(WorkerError):
            self._worker.stats()
            if self._worker.loaded.sha256 != before.sha256:
                self._session.report_soon()

    def _tell_trouble(self, trouble: StoreTrouble, outbox: Outbox) -> None:
        """Report a disk that takes records again; what it costs is counted.

        Raises:
            StoreError: It does not yet.
        """
        if not trouble.present:
            return
        dropped = 0
        with contextlib.suppress(WorkerError):
            dropped = self._worker.stats().records_dropped
        outbox.append([trouble.report(dropped)])
        trouble.over()

    def _open_evidence(self) -> EvidenceMemory:
        """Return the memory of the ring; without a hub nothing is ever compared."""
        if not self._config.trust.root:
            return EvidenceMemory(problem="this device works alone")
        memory = open_memory(self._config.evidence, self._state_dir)
        if memory.problem:
            self._events.put(
                EventRecord(
                    at=self._clock.wall(),
                    code=memory.code,
                    severity="warning",
                    text=memory.problem[:1000],
                )
            )
        return memory

    def _make_updates(self, root: bytes, broker: BrokerConfig) -> UpdateService:
        settings = UpdateSettings(
            device=self._config.device.id,
            boot=self._boot,
            state_dir=self._state_dir,
            database=self._database,
            root=root,
            ca=Path(broker.tls.ca) if broker.tls.enabled else None,
            outbox=self._config.outbox,
        )
        ports = UpdatePorts(
            worker=self._worker,
            carry_out=self._worker.carry_out,
            on_change=self._on_change,
            blocks=self._blocks,
            evidence=self._evidence,
        )
        return UpdateService(settings, ports, self._clock)

    def _make_renewal(self, config_path: Path, broker: BrokerConfig) -> Renewal | None:
        if not broker.tls.enabled or broker.tls.key:
            return None
        ports = RenewalPorts(
            read=read_certificate,
            renew=lambda: renew(self._config, config_path),
            renewed=self._link.reconnect,
            tell=self._tell_renewal,
        )
        return Renewal(Path(broker.tls.cert), self._clock, ports)

    def _tell_renewal(self, error: AgentError) -> None:
        self._events.put(
            EventRecord(
                at=self._clock.wall(),
                code=error.code,
                severity="warning",
                text=f"the certificate is not renewed: {error.text}",
            )
        )

    def _append_last_events(self) -> None:
        with contextlib.suppress(StoreError):
            outbox = Outbox(self._database, self._boot, self._config.outbox)
            self._append_events(outbox)
            outbox.close()

    def _append_events(self, outbox: Outbox) -> None:
        while self._waiting or not self._events.empty():
            # Out of the queue, but not lost when the disk is full.
            self._waiting = self._waiting or [self._events.get()]
            outbox.append(self._waiting)
            self._waiting = []

    def _reported(self) -> Reported:
        loaded = self._worker.loaded
        twin = Reported(
            device=self._config.device.id,
            boot=self._boot,
            version=0,
            at=self._clock.wall(),
            release=loaded.release,
            sha256=loaded.sha256,
            previous=self._slots.previous,
            phase=self._slots.phase,
            assignment_seq=self._slots.seq,
            tuf=self._tuf,
            quarantined=list(self._slots.quarantined),
            penalty_until=self._updates.penalty_until() or UNSET,
            clock_untrusted=self._updates.clock_untrusted() or UNSET,
            pinned=self._slots.pinned or UNSET,
            obstacle=self._updates.obstacle() or UNSET,
        )
        return tell_of_worker(twin, self._worker.newest)

    def _deliver(self, message: Delivery) -> None:
        if isinstance(message, Desired):
            self._updates.offer(AssignmentCame(envelope=message.envelope))
        elif isinstance(message, CommandReceived):
            self._updates.offer(CommandCame(envelope=message.envelope))
        else:
            self._updates.offer(message)

    def _on_change(self, slots: Slots, tuf: TufVersions) -> None:
        self._slots, self._tuf = slots, tuf
        self._child.follow(slots)
        self._session.report_soon()

    def _on_answer(self) -> None:
        self._service.ready()
        self._service.alive()

    def _on_death(self, death: Death) -> None:
        self._worker.forget()
        self._session.report_soon()
        self._events.put(
            death_event(death, self._clock.wall(), restarts=self._child.restarts)
        )

    def _on_crash_loop(self, release: int) -> None:
        if not release and self._factory is not None:
            self._factory.forget()
        message = CrashLoop(release=release)
        self._updates.offer(message)
        message.done.wait(CRASH_WAIT_S)

"""What ``edge-agent status`` and ``outbox stats`` read: the database and the worker.

Reading never changes anything, and works whether the agent runs or not.
"""

from pathlib import Path

import msgspec

from edge_agent.base.exit_codes import ExitCode
from edge_agent.config import AgentConfig
from edge_agent.errors import AgentError, WorkerError
from edge_agent.evidence_text import evidence_text
from edge_agent.heartbeat import SOCKET_FILE, WorkerPort
from edge_agent.link.meter import BULK_WAITS, RATE_WAITS
from edge_agent.link.session import LEVELS, LINK_LEVEL, LINK_STATE
from edge_agent.obstacle_note import read_obstacle
from edge_agent.pipeline.shedding import Readings, tell_readings
from edge_agent.serve.protocol import EvidenceReply, FlowStatus, SheddingReply
from edge_agent.store.db import DB_FILE
from edge_agent.store.lock import is_locked
from edge_agent.store.outbox import LaneStats, Outbox, Produced
from edge_agent.store.slots import SlotStore
from edge_agent.wire.control import LEFT_OUT, Obstacle


class NoStateError(AgentError):
    """The agent has never run with this configuration."""

    exit_code = ExitCode.NOT_FOUND


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the device does now."""

    device: str
    running: bool
    link: str
    mqtt: str
    """MQTT version of the present or last connection; empty: there was none."""
    answering: int
    """Release that answers requests now; 0: none, or the worker does not answer."""
    sha256: str
    active: int
    previous: int
    candidate: int
    phase: str
    assignment_seq: int
    pinned: bool
    """A person at the device wants the active release to stay."""
    quarantined: tuple[int, ...]
    code: str
    detail: str
    bulk_waits: bool
    """Only ``relay.always_lanes`` are sent now: metered, or outside the windows."""
    rate_waits: int
    """How often ``relay.max_bytes_per_s`` made a lane wait since the last start."""
    pending: dict[str, int]
    evicted: dict[str, int]
    sources: list[FlowStatus]
    sinks: list[FlowStatus]
    obstacle: Obstacle | None
    """What updates wait for."""
    shedding: SheddingReply
    """What is left out now because of heat or the processor quota."""
    evidence: EvidenceReply | None
    """The ring of own inputs; none: the worker does not answer."""
    api: list[str]
    """Where the local API answers; empty: the worker does not."""

    def lines(self) -> list[str]:
        """Return the status as text."""
        waiting = ", ".join(f"{lane} {n}" for lane, n in self.pending.items() if n)
        pinned = ", pinned" if self.pinned else ""
        lines = [
            f"device       {self.device}",
            f"agent        {'running' if self.running else 'stopped'}",
            f"link         {self.link}{self.mqtt and f', MQTT {self.mqtt}'}",
            f"answering    {self._answers()} {self.sha256[:12]}".rstrip(),
            f"slots        active {self.active}, previous {self.previous}{pinned}",
            f"update       {self.phase}, assignment {self.assignment_seq}",
            f"outbox       {waiting or 'empty'}",
            f"relay        {self._relay()}",
        ]
        if self.running:
            lines.append(f"leaves out   {self._left_out()}")
        if self.obstacle:
            lines.append(f"waits for    {self.obstacle.code}: {self.obstacle.text}")
        if self.evidence:
            lines.append(f"evidence     {evidence_text(self.evidence)}")
        lines += [f"api          {address}" for address in self.api]
        lines += [f"source       {_flow(one, 'answered')}" for one in self.sources]
        lines += [f"sink         {_flow(one, 'handed on')}" for one in self.sinks]
        if self.code:
            lines.append(f"last failure {self.code}: {self.detail}")
        if self.quarantined:
            lines.append(f"quarantined  {', '.join(map(str, self.quarantined))}")
        return lines

    def _answers(self) -> str:
        if self.sha256 and not self.answering:
            return "factory model"
        return f"release {self.answering}" if self.answering else "no release"

    def _left_out(self) -> str:
        shed = self.shedding
        counts = ", ".join(f"{n} {what}" for what, n in shed.left_out.items())
        readings = Readings(celsius=shed.celsius, throttled_ratio=shed.throttled_ratio)
        text = f"{LEFT_OUT.get(shed.level, shed.level)} ({tell_readings(readings)})"
        return f"{text}; {counts} so far" if counts else text

    def _relay(self) -> str:
        lanes = "bulk lanes wait" if self.bulk_waits else "all lanes go"
        times = f", rate cap made them wait {self.rate_waits} times"
        return lanes + (times if self.rate_waits else "")


class OutboxReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the outbox holds by lane, and how far every stream has come."""

    lanes: dict[str, LaneStats]
    streams: list[Produced]

    def lines(self) -> list[str]:
        """Return the lanes as a table."""
        head = f"{'lane':<8}{'pending':>10}{'bytes':>12}{'evicted':>10}{'produced':>10}"
        return [head] + [
            f"{name:<8}{lane.pending:>10}{lane.pending_bytes:>12}"
            f"{lane.evicted:>10}{lane.produced:>10}"
            for name, lane in self.lanes.items()
        ]


def socket_path(config: AgentConfig, config_path: Path) -> Path:
    """Return the path of the local API's socket."""
    return config_path.resolve().parent / config.device.state_dir / SOCKET_FILE


def read_status(config: AgentConfig, config_path: Path) -> Status:
    """Return the device's status.

    Raises:
        NoStateError: The agent has never run here.
        StoreError: The database cannot be read.
    """
    database = database_path(config, config_path)
    store = SlotStore(database)
    try:
        slots = store.read()
        link_up = store.read_number(LINK_STATE) > 0
        level = store.read_number(LINK_LEVEL)
        bulk_waits = store.read_number(BULK_WAITS) > 0
        rate_waits = int(store.read_number(RATE_WAITS))
        obstacle = read_obstacle(store)
    finally:
        store.close()
    lanes = read_outbox(config, config_path).lanes
    running = is_locked(database.parent)
    worker = WorkerPort(database.with_name(SOCKET_FILE))
    sources, sinks, evidence = _ask(worker) if running else ([], [], None)
    return Status(
        device=config.device.id,
        running=running,
        link=_link(config, running=running, is_up=link_up),
        mqtt=version_of(level),
        answering=worker.loaded.release,
        sha256=worker.loaded.sha256,
        active=slots.active,
        previous=slots.previous,
        candidate=slots.candidate,
        phase=slots.phase,
        assignment_seq=slots.seq,
        pinned=slots.pinned,
        quarantined=slots.quarantined,
        code=slots.code,
        detail=slots.detail,
        bulk_waits=running and bulk_waits,
        rate_waits=rate_waits if running else 0,
        pending={lane: stats.pending for lane, stats in lanes.items()},
        evicted={lane: stats.evicted for lane, stats in lanes.items()},
        sources=sources,
        sinks=sinks,
        obstacle=obstacle if running else None,
        shedding=worker.newest.shedding,
        evidence=evidence,
        api=worker.newest.api,
    )


def _ask(
    worker: WorkerPort,
) -> tuple[list[FlowStatus], list[FlowStatus], EvidenceReply | None]:
    """Return sources, sinks and ring; none where the worker does not answer."""
    try:
        worker.figures()
        return *worker.flows(), worker.evidence()
    except WorkerError:
        worker.forget()
        return [], [], None


def read_outbox(config: AgentConfig, config_path: Path) -> OutboxReport:
    """Return the outbox's figures.

    Raises:
        NoStateError: The agent has never run here.
        StoreError: The database cannot be read.
    """
    outbox = Outbox(database_path(config, config_path), "", config.outbox)
    try:
        lanes = {lane.value: stats for lane, stats in outbox.stats().items()}
        return OutboxReport(lanes=lanes, streams=outbox.produced())
    finally:
        outbox.close()


def database_path(config: AgentConfig, config_path: Path) -> Path:
    """Return the path of the agent's database.

    Raises:
        NoStateError: The agent has never run here.
    """
    path = config_path.resolve().parent / config.device.state_dir / DB_FILE
    if not path.exists():
        raise NoStateError(
            "AGENT-CLI-001",
            f"there is no agent's database {path}",
            cure="start the agent once: edge-agent run",
        )
    return path


def version_of(level: float) -> str:
    """Return the MQTT version that CONNECT calls ``level``; empty: no such."""
    return next((name for name, of in LEVELS.items() if of == level), "")


def last_version(database: Path) -> str:
    """Return the MQTT version that the agent spoke last; empty: none yet.

    Raises:
        StoreError: The database cannot be read.
    """
    if not database.exists():
        return ""
    store = SlotStore(database)
    try:
        return version_of(store.read_number(LINK_LEVEL))
    finally:
        store.close()


def _link(config: AgentConfig, *, running: bool, is_up: bool) -> str:
    if not config.trust.root:
        return "none, this device works alone"
    return ("up" if is_up else "down") if running else "off"


def _flow(flow: FlowStatus, done: str) -> str:
    counts = {
        done: flow.done,
        "rejected": flow.rejected,
        "failed": flow.failed,
        "dropped": flow.dropped,
        "files done": flow.files_done,
        "files set aside": flow.files_failed,
    }
    figures = ", ".join(
        f"{n} {what}" for what, n in counts.items() if n or what == done
    )
    problem = f"; {flow.problem}" if flow.problem else ""
    kind = "" if flow.kind == flow.name else f" ({flow.kind})"
    return f"{flow.name}{kind}: {figures}{problem}"

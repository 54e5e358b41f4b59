"""The worker's answers as the supervisor needs them, and the heartbeat made of them.

:class:`WorkerPort` remembers what the worker said it has loaded: the reported twin
tells that, not what the slot row asks for.
"""

import resource
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import UNSET
from msgspec.structs import replace

from edge_agent.base.clock import Clock
from edge_agent.child import WorkerChild
from edge_agent.errors import WorkerError
from edge_agent.serve.client import Client
from edge_agent.serve.protocol import (
    EvidenceReply,
    FiguresReply,
    FlowStatus,
    StatsReply,
)
from edge_agent.sketch.latency import quantile_us
from edge_agent.store.outbox import LaneStats
from edge_agent.store.slots import Figures
from edge_agent.update.shadow import ShadowState
from edge_agent.update.worker_port import Loaded, WorkerFigures
from edge_agent.wire.control import CollectSamples, Command, Reported
from edge_agent.wire.records import HealthRecord
from edge_agent.wire.topics import Lane

SOCKET_FILE = "agent.sock"
ASK_S = 2.0
CHECK_S = 5.0
MISFITS = ("shape", "dtype")
"""Reasons of rejected samples that no other value would have saved."""
RELOAD_S = 30.0
MAX_ADDRESS = 1024
"""The twin has room for so much of one."""
_PAGE_FIELD = 1


@dataclass(slots=True)
class _Clients(threading.local):
    """One connection a thread and kind of call."""

    made: dict[float, Client] = field(default_factory=dict)


class WorkerPort:
    """The worker behind its socket; any thread may call it."""

    def __init__(self, socket: Path) -> None:
        """Point at the local API; nothing is opened yet."""
        self._socket = socket
        self._clients = _Clients()
        self._all: list[Client] = []
        self._lock = threading.Lock()
        self._changes = 0
        self.loaded = Loaded()
        self.newest = StatsReply()
        """What it said last; empty while it is silent."""

    def stats(self) -> StatsReply:
        """Return the worker's figures.

        Raises:
            WorkerError: It does not answer.
        """
        asked = self._changes
        reply = self._client(ASK_S).stats()
        with self._lock:
            # What was asked for before a swap and comes after it is not so any more.
            if asked == self._changes:
                self.loaded = Loaded(release=reply.release, sha256=reply.sha256)
            self.newest = reply
        return reply

    def figures(self) -> WorkerFigures:
        """Return the figures that probation compares.

        Raises:
            WorkerError: It does not answer.
        """
        reply = self.stats()
        before = figures_of(reply.before) if reply.before.predictions else None
        sheds = bool(reply.shedding.level)
        return WorkerFigures(now=figures_of(reply), before=before, sheds=sheds)

    def check(self) -> None:
        """Have the worker infer a sample that is nobody's.

        Raises:
            AgentError: It does not answer, or a model hangs or fails.
        """
        self._client(CHECK_S).check()

    def shadow(self) -> ShadowState:
        """Return how the release in shadow does.

        Raises:
            WorkerError: It does not answer.
        """
        reply = self._client(ASK_S).shadow()
        return ShadowState(
            summary=reply.summary,
            ready=reply.ready,
            busy_s=reply.busy_s,
            problem=reply.problem,
            figures=reply.figures,
        )

    def reload(self) -> Loaded:
        """Have the worker follow the slot row.

        Raises:
            WorkerError: It does not answer.
        """
        reply = self._client(RELOAD_S).reload()
        loaded = Loaded(
            release=reply.release, sha256=reply.sha256, problem=reply.problem
        )
        self._change(loaded)
        return loaded

    def carry_out(self, command: Command) -> None:
        """Hand a command to the worker.

        Raises:
            WorkerError: It does not answer.
        """
        action = command.action
        wanted = action.max_samples if isinstance(action, CollectSamples) else 0
        self._client(ASK_S).collect(wanted)

    def flows(self) -> tuple[list[FlowStatus], list[FlowStatus]]:
        """Return what came of each source and of each sink.

        Raises:
            WorkerError: It does not answer.
        """
        reply = self._client(ASK_S).status()
        return reply.sources, reply.sinks

    def evidence(self) -> EvidenceReply:
        """Return what the ring of own inputs holds.

        Raises:
            WorkerError: It does not answer.
        """
        return self._client(ASK_S).evidence()

    def forget(self) -> None:
        """Take note that nothing is loaded: the worker died or is silent."""
        self._change(Loaded())
        self.newest = StatsReply()

    def close(self) -> None:
        """Close every thread's connections; none may call any more."""
        for client in self._all:
            client.close()

    def _change(self, loaded: Loaded) -> None:
        with self._lock:
            self._changes += 1
            self.loaded = loaded

    def _client(self, timeout_s: float) -> Client:
        made = self._clients.made
        if timeout_s not in made:
            made[timeout_s] = Client(self._socket, timeout_s)
            self._all.append(made[timeout_s])
        return made[timeout_s]


def figures_of(reply: StatsReply | FiguresReply) -> Figures:
    """Return what probation needs of a worker's figures."""
    counts = {int(bin_): n for bin_, n in reply.latency.items()}
    predictions = reply.predictions
    return Figures(
        release=reply.release,
        predictions=predictions,
        errors=reply.errors,
        fallbacks=reply.fallbacks,
        misfits=sum(reply.rejected_by_reason.get(reason, 0) for reason in MISFITS),
        latency_us=quantile_us(counts, 0.5),
        confidence=reply.confidence_sum / predictions if predictions else 0.0,
        class_counts=tuple(reply.class_counts),
    )


class Heartbeat:
    """Makes health records."""

    def __init__(self, worker: WorkerPort, child: WorkerChild, clock: Clock) -> None:
        """Count uptime from now."""
        self._worker = worker
        self._child = child
        self._clock = clock
        self._started = clock.mono()

    def measure(self, lanes: Mapping[Lane, LaneStats]) -> HealthRecord:
        """Return the device's health; a silent worker is reported as no release."""
        try:
            stats = self._worker.stats()
        except WorkerError:
            self._worker.forget()
            stats = StatsReply()
        total, shed = stats.total, stats.shedding
        held_back = shed.throttled_ratio
        latency = {int(bin_): n for bin_, n in total.latency.items()}
        return HealthRecord(
            at=self._clock.wall(),
            uptime_s=self._clock.mono() - self._started,
            release=stats.release,
            sha256=stats.sha256,
            predictions=total.predictions,
            rejected=sum(total.rejected_by_reason.values()),
            errors=total.errors,
            rejected_by_reason=total.rejected_by_reason,
            latency_p50_us=quantile_us(latency, 0.5),
            latency_p95_us=quantile_us(latency, 0.95),
            rss_supervisor_bytes=rss_bytes(),
            rss_worker_bytes=stats.rss_bytes,
            worker_restarts=self._child.restarts,
            outbox_pending={lane.value: s.pending for lane, s in lanes.items()},
            outbox_evicted={lane.value: s.evicted for lane, s in lanes.items()},
            source_dropped=stats.source_dropped or UNSET,
            sink_lost=stats.sink_lost or UNSET,
            shedding=shed.level or UNSET,
            left_out=shed.left_out or UNSET,
            celsius=UNSET if shed.celsius is None else shed.celsius,
            throttled_ratio=UNSET if held_back is None else held_back,
        )


def tell_of_worker(twin: Reported, stats: StatsReply) -> Reported:
    """Add to the twin what the worker said of itself."""
    return replace(
        twin,
        shedding=stats.shedding.level or UNSET,
        api=[address[:MAX_ADDRESS] for address in stats.api] or UNSET,
    )


def rss_bytes() -> int:
    """Return this process's resident memory (0 where the system does not tell)."""
    try:
        fields = Path("/proc/self/statm").read_text("ascii").split()
    except OSError:
        return 0
    return int(fields[_PAGE_FIELD]) * resource.getpagesize()

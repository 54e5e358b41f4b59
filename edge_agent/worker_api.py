"""What the worker answers to each request of the local API."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET

from edge_agent.base.clock import Clock
from edge_agent.base.installed import installed_runtime
from edge_agent.errors import WorkerError
from edge_agent.pipeline.figures import Figures
from edge_agent.pipeline.loading import SlotLoader, close_unused
from edge_agent.pipeline.owner import HUNG
from edge_agent.pipeline.path import SamplePath
from edge_agent.pipeline.recent import Entry
from edge_agent.pipeline.selfcheck import check_ladder
from edge_agent.pipeline.shadow import Role, ShadowPlan
from edge_agent.pipeline.shadow_place import Beside
from edge_agent.pipeline.shedder import ShedView
from edge_agent.runtime.port import Array
from edge_agent.serve import protocol as p
from edge_agent.serve.parts import sample_of
from edge_agent.store.slots import Slots, SlotStore

SHADOW_PHASE = "SHADOW"
ACTIVE_PHASES = frozenset({"ACTIVATE", "PROBATION", "COMMIT", "IDLE"})
"""Phases in which what the assignment names is what answers."""
RELOAD_HUNG_S = 30.0
STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the worker knows about itself."""

    boot: str
    database: Path
    fallback: str
    sources: Callable[[], list[p.FlowStatus]]
    sinks: Callable[[], list[p.FlowStatus]]
    dropped: Callable[[], int]
    shed: Callable[[], ShedView] = ShedView
    addresses: Callable[[], list[str]] = list
    evidence: Callable[[], p.EvidenceReply] = p.EvidenceReply
    forget_evidence: Callable[[], None] = lambda: None


class WorkerApi:
    """Handles requests of many threads; reloads go one at a time."""

    def __init__(
        self,
        path: SamplePath,
        loader: SlotLoader,
        beside: Beside,
        facts: Facts,
        clock: Clock,
    ) -> None:
        """Wire it up."""
        self._path = path
        self._beside = beside
        self._loader = loader
        self._facts = facts
        self._clock = clock
        self._started = clock.mono()
        self._reloading = threading.Lock()
        self._reload_since: float | None = None
        self._problem = ""

    def handle(self, request: p.Request, data: bytes) -> p.Reply:
        """Answer one request.

        Raises:
            AgentError: It is refused.
        """
        match request:
            case p.Infer():
                sample = sample_of(request, data)
                return reply_of(self._path.infer(request.sample_id, sample))
            case p.Recent():
                entries = self._path.recent(request.after, request.limit)
                return p.RecentReply(predictions=[reply_of(e) for e in entries])
            case p.Stats():
                return self._stats()
            case p.Status() | p.Shadow():
                is_status = isinstance(request, p.Status)
                return self._status() if is_status else self._shadow()
            case p.Evidence() | p.ForgetEvidence():
                return self._evidence(request)
            case p.Reload() | p.Check() | p.Feedback() | p.Collect():
                return self._change(request)

    def _evidence(self, request: p.Evidence | p.ForgetEvidence) -> p.Reply:
        if isinstance(request, p.ForgetEvidence):
            self._facts.forget_evidence()
        return self._facts.evidence()

    def _change(self, request: p.Reload | p.Check | p.Feedback | p.Collect) -> p.Reply:
        match request:
            case p.Check():
                self._check()
            case p.Reload():
                self.reload()
                return self._status()
            case p.Feedback():
                self._path.feedback(request.sample_id, request.label)
            case p.Collect():
                self._collect(request)
        return p.Ok()

    def uptime_s(self) -> float:
        """Return how long the worker has run."""
        return self._clock.mono() - self._started

    def reload(self) -> None:
        """Follow the slot row: load beside, swap, close what is no longer served.

        Raises:
            StoreError: The row cannot be read; nothing changed.
        """
        with self._reloading, self._noting_time():
            slots_store = SlotStore(self._facts.database)
            try:
                slots = slots_store.read()
            finally:
                slots_store.close()
            plan = shadow_of(slots)
            self._beside.make_room(plan)
            old = self._path.ladder
            loading = self._loader.follow(slots.active, slots.previous, old)
            self._problem = loading.problem[:4096]
            self._path.swap(loading.ladder)
            self._beside.follow(plan, loading.ladder)
            close_unused(old, loading.ladder)

    @contextlib.contextmanager
    def _noting_time(self) -> Iterator[None]:
        self._reload_since = self._clock.mono()
        try:
            yield
        finally:
            self._reload_since = None

    def _check(self) -> None:
        """Let every model infer a sample.

        Raises:
            ModelError: The active model fails.
            WorkerError: A model hangs, or the loading of one does.
        """
        since = self._reload_since
        if since is not None and self._clock.mono() - since > RELOAD_HUNG_S:
            raise WorkerError(HUNG, f"a release has been loading for {RELOAD_HUNG_S} s")
        check_ladder(self._path.ladder)

    def _collect(self, request: p.Collect) -> None:
        if request.max_samples and not self._path.may_collect:
            raise WorkerError(
                "AGENT-WORKER-010",
                "this device has no consent to send samples",
                cure="name one in [consent] of agent.toml",
            )
        self._path.collect(request.max_samples, request.until)

    def _status(self) -> p.StatusReply:
        ladder = self._path.ladder
        active, previous = ladder.active, ladder.previous
        sources = self._facts.sources()
        return p.StatusReply(
            boot=self._facts.boot,
            pid=os.getpid(),
            release=active.release if active else 0,
            sha256=active.sha256 if active else "",
            previous=previous.release if previous else 0,
            labels=list(active.labels) if active else [],
            shape=active.contract.tensor.shape if active else [],
            inputs=[one.tensor.name for one in active.inputs] if active else [],
            runtime=installed_runtime(),
            fallback=self._facts.fallback,
            uptime_s=self.uptime_s(),
            source=sources[0].kind if sources else "none",
            source_problem=next((s.problem for s in sources if s.problem), ""),
            sources=sources,
            sinks=self._facts.sinks(),
            problem=self._problem,
        )

    def _shadow(self) -> p.ShadowReply:
        view = self._beside.view()
        return p.ShadowReply(
            summary=view.summary,
            ready=view.ready,
            busy_s=view.busy_s,
            problem=view.problem[:4096],
            figures=self._beside.figures(),
            labels_early=view.labels_early,
        )

    def _stats(self) -> p.StatsReply:
        now, before, total = self._path.figures()
        state, refused = self._path.collect_state()
        figures = _figures(now)
        return p.StatsReply(
            release=figures.release,
            sha256=figures.sha256,
            predictions=figures.predictions,
            errors=figures.errors,
            rejected_by_reason=figures.rejected_by_reason,
            latency=figures.latency,
            class_counts=figures.class_counts,
            confidence_sum=figures.confidence_sum,
            fallbacks=figures.fallbacks,
            rss_bytes=rss_bytes(),
            before=_figures(before),
            total=_figures(total),
            records_dropped=self._facts.dropped(),
            source_dropped=sum(one.dropped for one in self._facts.sources()),
            sink_lost=sum(one.dropped + one.failed for one in self._facts.sinks()),
            samples_taken=state.taken,
            samples_refused=refused,
            shedding=_shedding(self._facts.shed()),
            api=self._facts.addresses(),
        )


def _shedding(view: ShedView) -> p.SheddingReply:
    return p.SheddingReply(
        level=view.level.told,
        left_out=view.counts,
        celsius=view.readings.celsius,
        throttled_ratio=view.readings.throttled_ratio,
    )


def shadow_of(slots: Slots) -> ShadowPlan:
    """Return what the slot row wants run in shadow, and on which share of requests.

    The candidate before it is activated; afterwards the release before, for as long as
    the newest assignment is the one that brought the active release.
    """
    assignment = slots.assignment
    if assignment is None or assignment.shadow is UNSET:
        return ShadowPlan()
    ratio = assignment.shadow.sample_ratio
    if slots.phase == SHADOW_PHASE:
        return ShadowPlan(release=slots.candidate, ratio=ratio)
    if slots.phase in ACTIVE_PHASES and slots.active == assignment.release:
        return ShadowPlan(release=slots.previous, ratio=ratio, role=Role.PREVIOUS)
    return ShadowPlan()


def reply_of(entry: Entry) -> p.Prediction:
    """Return what the local API says of an answered sample."""
    return p.Prediction(
        sample_id=entry.sample_id,
        release=entry.release,
        label=entry.label,
        # A quantized softmax may say a little more than 1.
        confidence=min(max(entry.confidence, 0.0), 1.0),
        probabilities=entry.probabilities.tolist(),
        served_by=entry.served_by,
        latency_us=entry.latency_us,
        number=entry.number,
        at=entry.at,
        outputs={name: _values(output) for name, output in entry.outputs.items()},
    )


def _values(output: Array) -> p.OutputValues:
    return p.OutputValues(
        shape=list(output.shape), values=output.ravel().astype(float).tolist()
    )


def _figures(figures: Figures) -> p.FiguresReply:
    return p.FiguresReply(
        release=figures.release,
        sha256=figures.sha256,
        predictions=figures.predictions,
        errors=figures.errors,
        rejected_by_reason=dict(figures.rejected),
        latency=_texts(figures.latency),
        class_counts=figures.class_counts,
        confidence_sum=figures.confidence_sum,
        fallbacks=figures.fallbacks,
    )


def _texts(counts: Mapping[int, int]) -> dict[str, int]:
    return {str(bin_): count for bin_, count in sorted(counts.items())}


def rss_bytes() -> int:
    """Return this process's resident memory (0 where the system does not tell)."""
    try:
        pages = int(STATM.read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

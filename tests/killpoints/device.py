"""The device that is killed: the agent's own journal, phases, store and worker code.

One process instead of three: the worker's parts (loader, ladder, shadow, figures) run
in it with real interpreters, and the self-test in a process forked from it. Time is
virtual, so nothing is waited for but real work.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from edge_agent.base.clock import SystemClock
from edge_agent.config import ProfileConfig
from edge_agent.engine import Engine
from edge_agent.evidence.judge import (
    PairedFigures,
    Pairing,
    Source,
    Statistic,
    decide_paired,
    summarize,
)
from edge_agent.heartbeat import figures_of
from edge_agent.pipeline.collect import Collector, CollectState
from edge_agent.pipeline.loading import LoadPorts, SlotLoader
from edge_agent.pipeline.path import PathPorts, SamplePath
from edge_agent.pipeline.shadow import ShadowPorts
from edge_agent.pipeline.shadow_place import Beside
from edge_agent.serve import protocol as p
from edge_agent.store.artifacts import ArtifactStore, LoadedRelease
from edge_agent.store.db import DB_FILE
from edge_agent.store.factory import FactoryModel
from edge_agent.store.slots import SlotStore
from edge_agent.update import selftest
from edge_agent.update.download import Ways
from edge_agent.update.grounds import OPEN
from edge_agent.update.metadata import Trust
from edge_agent.update.paired_trial import PairedOutcome, Releases
from edge_agent.update.phases import Phases
from edge_agent.update.runner import UpdateRunner
from edge_agent.update.selftest import Verdict
from edge_agent.update.shadow import ShadowState
from edge_agent.update.states import AT_REST, Phase
from edge_agent.update.trials import Trials
from edge_agent.update.worker_port import Loaded, WorkerFigures
from edge_agent.wire.codec import decode
from edge_agent.wire.control import PairedPolicy, TufBundle
from edge_agent.wire.envelope import Envelope
from edge_agent.worker_api import Facts, WorkerApi
from tests.fakes.releases import samples

DEVICE = "d1"
ENOUGH = 25
"""Predictions for each look at the figures."""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong with a candidate, or comes in between ("": nothing).

    ``garbage``: its answers have nothing to do with the active release's; ``late``:
    that it is as good shows only by samples that come after the commit. ``crash_in``
    is a phase in which the worker dies again and again, ``newer_in`` one in which
    release ``newer`` is assigned, ``stop_in`` one at whose beginning to stop.
    """

    disagrees: bool = False
    garbage: bool = False
    late: bool = False
    errs: bool = False
    crash_in: str = ""
    newer_in: str = ""
    newer: int = 0
    stop_in: str = ""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One life of the device: what it shall run, and at which point it is killed."""

    home: str
    release: int
    boot: str
    at: int = 0
    trace: bool = False
    trouble: Trouble = Trouble()


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """How a life ended: exit status (below 0: by a signal), and what was loaded.

    ``first`` is how many points there were before the assignment, ``newer`` before the
    one that supersedes it (0: none), ``points`` in all.
    """

    status: int
    first: int = 0
    newer: int = 0
    points: int = 0
    loaded: int = 0
    sha256: str = ""


class Points(msgspec.Struct, frozen=True):
    """The counter of effects, as functions of the preloaded library."""

    arm: Callable[[bytes, int, int], None]
    disarm: Callable[[], None]
    count: Callable[[], int]
    mark: Callable[[bytes], None]


class VirtualClock(SystemClock):
    """Waits cost nothing."""

    def __init__(self) -> None:
        """Start now."""
        self._ahead_s = 0.0

    def mono(self) -> float:
        """Return seconds, with those that were waited."""
        return super().mono() + self._ahead_s

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._ahead_s += seconds


class InnerWorker:
    """The worker's own parts behind the port that phases use."""

    def __init__(
        self, state: Path, boot: str, trouble: Trouble, points: Points
    ) -> None:
        """Load what the slot row names, as the worker does at its start."""
        self._trouble = trouble
        self._points = points
        self._number = 0
        self._inputs = samples(8)
        factory = state.parent / "factory"
        loader = SlotLoader(
            ArtifactStore(state),
            "",
            LoadPorts(
                open_engine=_open_engine,
                spawn=_spawn,
                factory=FactoryModel(factory, state, "").load
                if factory.exists()
                else None,
            ),
        )
        self._beside = Beside(
            ShadowPorts(
                clock=SystemClock(),
                load=loader.open_candidate,
                spawn=_spawn,
                rss_bytes=lambda: 0,
                give_up=lambda: None,
            )
        )
        self._path = SamplePath(
            ProfileConfig(),
            Collector(None, CollectState()),
            PathPorts(
                clock=SystemClock(),
                emit=lambda _: None,
                save_collect=lambda _: None,
                beside=self._beside,
            ),
        )
        facts = Facts(
            boot=boot,
            database=state / DB_FILE,
            fallback="",
            sources=list,
            sinks=list,
            dropped=int,
        )
        self._api = WorkerApi(self._path, loader, self._beside, facts, SystemClock())
        self._api.reload()

    def reload(self) -> Loaded:
        """Follow the slot row."""
        self._points.mark(b"reload")
        reply = self._api.handle(p.Reload(), b"")
        assert isinstance(reply, p.StatusReply)
        self._points.mark(b"reloaded")
        return Loaded(release=reply.release, sha256=reply.sha256, problem=reply.problem)

    def loaded(self) -> Loaded:
        """Return what answers."""
        reply = self._api.handle(p.Status(), b"")
        assert isinstance(reply, p.StatusReply)
        return Loaded(release=reply.release, sha256=reply.sha256)

    def figures(self) -> WorkerFigures:
        """Answer requests, then tell how that went."""
        for _ in range(ENOUGH):
            self._answer_one()
        reply = self._api.handle(p.Stats(), b"")
        assert isinstance(reply, p.StatsReply)
        now = figures_of(reply)
        if self._trouble.errs and now.release > 1:
            failed = now.predictions
            now = replace(now, errors=failed, fallbacks=failed)
        before = figures_of(reply.before) if reply.before.predictions else None
        return WorkerFigures(now=now, before=before)

    def shadow(self) -> ShadowState:
        """Have the candidate try requests beside the active release."""
        if not self._beside.view().summary.release:
            return ShadowState(summary=self._beside.view().summary)
        _until(lambda: self._beside.view().ready or self._beside.view().problem)
        for n in range(1, 7):
            self._answer_one()
            _until(lambda n=n: self._beside.view().summary.n >= n)  # type: ignore[misc]
        view = self._beside.view()
        summary = view.summary
        if self._trouble.disagrees:
            summary = msgspec.structs.replace(summary, disagreement_ratio=1.0)
        return ShadowState(summary=summary, ready=view.ready, problem=view.problem)

    def _answer_one(self) -> None:
        if self._path.ladder.active is None:
            return
        self._number += 1
        self._path.infer(f"n{self._number}", self._inputs[self._number % 8])
        self._beside.after_reply()


class Device:
    """One life: recover, take up what is assigned, run to rest."""

    def __init__(self, order: Order, points: Points) -> None:
        """Open the state folder."""
        self._order = order
        self._points = points
        home = Path(order.home)
        state = home / "state"
        self._home = home
        self._clock = VirtualClock()
        self.first = self.newer = 0
        self._worker = InnerWorker(state, order.boot, order.trouble, points)
        trust = Trust(state / "tuf", (home / "root.json").read_bytes())
        phases = Phases(
            ArtifactStore(state),
            trust,
            self._worker,
            Ways(interrupted=lambda: False),
            Trials(self_test=self._self_test, paired=self._paired),
        )
        self.runner = UpdateRunner(
            DEVICE,
            SlotStore(state / DB_FILE, order.boot),
            phases,
            self._clock,
            on_change=lambda _: points.mark(b"report"),
        )

    def live(self) -> Loaded:
        """Run to rest; return what is loaded then."""
        runner, trouble = self.runner, self._order.trouble
        runner.recover()
        bundle = (self._home / "bundle.json").read_bytes()
        runner.on_metadata(decode(bundle, TufBundle, limit=4 << 20))
        self.first = self._points.count()
        self._assign(self._order.release)
        last = self._order.release
        crashed = False
        while not self._rests(last):
            phase = runner.state.phase
            if phase == trouble.stop_in:
                break
            if phase == trouble.newer_in:
                self.newer = self.newer or self._points.count()
                last = trouble.newer
                self._assign(last)
            if phase == trouble.crash_in and not crashed:
                crashed = True
                runner.on_crash_loop(self._order.release)
                continue
            self._clock.wait(runner.tick())
        return self._worker.loaded()

    def _rests(self, release: int) -> bool:
        """Tell whether nothing more happens; an assignment has its release's number."""
        state = self.runner.state
        return (
            Phase(state.phase) in AT_REST
            and state.seq >= release
            and self.runner.is_idle
            and state.evidence not in OPEN
        )

    def _assign(self, release: int) -> None:
        data = (self._home / f"{release}.envelope").read_bytes()
        self.runner.on_desired(decode(data, Envelope))

    def _paired(
        self,
        releases: Releases,
        policy: PairedPolicy,
        *,
        interrupted: Callable[[], bool],
    ) -> PairedOutcome | None:
        """Judge the figures of a ring that has few samples, or many."""
        assert not interrupted()
        self._points.mark(b"paired")
        committed = self.runner.state.active == releases.candidate
        few = self._order.trouble.late and not committed
        figures = PairedFigures(
            n=12 if few else 256,
            statistic=Statistic.THEIL_U,
            association=0.0 if self._order.trouble.garbage else 0.9,
            entropy=1.0,
        )
        verdict = decide_paired(figures, policy)
        pairing = Pairing(
            candidate=releases.candidate,
            incumbent=releases.incumbent,
            source=Source.RING,
        )
        return PairedOutcome(
            verdict=verdict, summary=summarize(figures, verdict, pairing)
        )

    def _self_test(
        self, state_dir: Path, release: int, *, interrupted: Callable[[], bool]
    ) -> Verdict | None:
        """Run the real self-test in a process forked from this one."""
        assert not interrupted()
        self._points.mark(b"self-test")
        out, into = os.pipe()
        child = os.fork()
        if not child:
            self._points.disarm()
            os.dup2(into, 1)
            os._exit(selftest.main([str(state_dir), str(release)]))
        os.close(into)
        with os.fdopen(out, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        return selftest._read_verdict(os.waitstatus_to_exitcode(status), said, b"")


def live(order: Order, points: Points) -> Life:
    """Live one life, in a process of its own."""
    points.arm(str(Path(order.home) / "state").encode(), order.at, int(order.trace))
    device = Device(order, points)
    loaded = device.live()
    return Life(
        status=0,
        first=device.first,
        newer=device.newer,
        points=points.count(),
        loaded=loaded.release,
        sha256=loaded.sha256,
    )


def _open_engine(files: LoadedRelease) -> Engine:
    release = files.release
    return Engine.of_bundle(files.model, release.bundle, release=release.release)


def _spawn(name: str, body: Callable[[], None]) -> None:
    threading.Thread(target=body, name=name, daemon=True).start()


def _until(holds: Callable[[], object]) -> None:
    pause, deadline = threading.Event(), time.monotonic() + 20.0
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(9)
        pause.wait(0.001)

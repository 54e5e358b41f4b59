"""Composition root of the inference process: ``python -m edge_agent.worker``.

It decides what runs in which thread and in which order things stop. It serves what the
slot row names, runs sources and sinks, and commits its records to the outbox. It ends
at SIGTERM, and when its standard input closes: its supervisor is gone then, and a
worker without one must not hold the socket. The open window and every queued record
are committed first. A thread that dies takes the process down with exit code 1.

Threads: ``main`` (waiting for the end), ``records`` (commits, window ages), ``api``,
``http-unix``, ``http`` and one for each connection (which also runs the model, where
that is free), ``grpc`` (and gRPC's own), ``model-N`` (runs release N for all who wait),
``shadow-N`` (the only user of a candidate beside it, or asks the release before),
``source-NAME``, ``sink-NAME``, ``stdin``.
"""

# isort: off
import edge_agent.base.lean  # noqa: F401 - before whatever it keeps out is imported
# isort: on

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.base.clock import Clock, SystemClock
from edge_agent.base.exit_codes import ExitCode, ShoalError
from edge_agent.base.installed import use_backend
from edge_agent.base.limits import (
    STACK_BYTES,
    go_first_when_memory_ends,
    limit_memory,
)
from edge_agent.base.log import set_up_logging
from edge_agent.config import AgentConfig, read_agent_config
from edge_agent.engine import Engine
from edge_agent.pipeline.collect import Collector
from edge_agent.pipeline.consent_file import ConsentFile
from edge_agent.pipeline.loading import LoadPorts, SlotLoader
from edge_agent.pipeline.path import PathPorts, SamplePath
from edge_agent.pipeline.pressure import SystemPressure
from edge_agent.pipeline.shadow import ShadowPorts
from edge_agent.pipeline.shadow_place import Beside
from edge_agent.pipeline.shedder import Shedder, ShedPorts
from edge_agent.pipeline.shedding import Limits, Shed
from edge_agent.pipeline.writer import RecordWriter
from edge_agent.serve.server import Server
from edge_agent.store.artifacts import ArtifactStore, LoadedRelease
from edge_agent.store.db import DB_FILE
from edge_agent.store.factory import factory_model
from edge_agent.store.outbox import LaneStats, Outbox
from edge_agent.wire.records import AnyRecord
from edge_agent.wire.topics import Lane
from edge_agent.worker_api import Facts, WorkerApi, rss_bytes
from edge_agent.worker_evidence import GivenRing, WorkerEvidence
from edge_agent.worker_flows import Flows, Place
from edge_agent.worker_metrics import MetricsPorts, WorkerMetrics
from edge_agent.worker_models import WorkerModels
from edge_agent.worker_oip import ApiPorts, OipApi

WORKER_READY = "worker.ready"
WORKER_STOPPED = "worker.stopped"
THREAD_DIED = "thread.died"
SOCKET_FILE = "agent.sock"
JOIN_S = 4.0
USAGE = """\
usage: python -m edge_agent.worker --config FILE --boot ID [--ring FD PROBLEM]"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What the supervisor said when it started this process."""

    config_path: Path
    boot: str
    ring: GivenRing = GivenRing()


class Worker:
    """One inference process."""

    def __init__(self, config: AgentConfig, started: Started, clock: Clock) -> None:
        """Load what the slot row names and bind the socket; nothing is served yet.

        Raises:
            AgentError: The state folder or the socket cannot be used.
        """
        folder = started.config_path.resolve().parent
        state_dir = folder / config.device.state_dir
        self._config = config
        self._database = state_dir / DB_FILE
        self._boot = boot = started.boot
        self._stop, self._failed = threading.Event(), False
        self._writer = RecordWriter(config.outbox)
        self._emit = self._writer.put if config.trust.root else _tell_nobody
        kept = ConsentFile(state_dir)
        place = Place(folder=folder, state_dir=state_dir, boot=boot)
        self._flows = Flows(config, place, clock)
        loader = self._make_loader(folder, state_dir)
        self._shedder = self._make_shedder(clock)
        beside = self._make_beside(loader, clock)
        evidence = WorkerEvidence(config.evidence, state_dir, started.ring, clock)
        self._path = SamplePath(
            config.profile,
            Collector(config.consent, kept.read(config.consent)),
            PathPorts(
                clock=clock,
                emit=self._emit,
                save_collect=kept.write,
                beside=beside,
                answered=self._flows.answered,
                recorder=evidence.recorder,
            ),
        )
        self._flows.open(self._path, self._spawn, self._shedder)
        facts = Facts(
            boot=boot,
            database=self._database,
            fallback=config.fallback,
            sources=self._flows.sources_status,
            sinks=self._flows.sinks_status,
            dropped=lambda: self._writer.dropped,
            shed=self._shedder.view,
            addresses=self._addresses,
            evidence=evidence.view,
            forget_evidence=evidence.forget,
        )
        self._api = WorkerApi(self._path, loader, beside, facts, clock)
        self._api.reload()
        self._server = Server(
            state_dir / SOCKET_FILE,
            self._api.handle,
            self._spawn,
            after_reply=beside.after_reply,
        )
        self._oip = self._make_oip((folder, state_dir), beside)

    def run(self) -> int:
        """Serve until SIGTERM or the end of standard input; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        records = self._spawn("records", self._commit_records)
        self._spawn("api", self._server.run)
        self._oip.start()
        self._spawn("stdin", self._watch_stdin)
        self._spawn("shedder", lambda: self._shedder.run(self._stop))
        self._flows.start()
        active = self._path.ladder.active
        log.info(
            WORKER_READY,
            extra={"boot": self._boot, "release": active.release if active else 0},
        )
        self._stop.wait()
        self._server.stop()
        self._oip.stop()
        self._flows.stop()
        self._path.flush()
        self._writer.stop()
        records.join(JOIN_S)
        log.info(WORKER_STOPPED)
        return ExitCode.FAILED if self._failed else ExitCode.OK

    def _make_loader(self, folder: Path, state_dir: Path) -> SlotLoader:
        factory = factory_model(self._config, folder)
        return SlotLoader(
            ArtifactStore(state_dir),
            self._config.fallback,
            LoadPorts(
                open_engine=_open_engine,
                spawn=self._spawn,
                factory=factory.load if factory else None,
            ),
        )

    def _make_beside(self, loader: SlotLoader, clock: Clock) -> Beside:
        return Beside(
            ShadowPorts(
                clock=clock,
                load=loader.open_candidate,
                spawn=self._spawn,
                rss_bytes=rss_bytes,
                give_up=self._give_up,
                is_shed=lambda: self._shedder.leaves_out(Shed.SHADOW),
            )
        )

    def _make_shedder(self, clock: Clock) -> Shedder:
        config = self._config.shedding
        return Shedder(
            Limits(hot_c=config.hot_c, cool_c=config.cool_c),
            ShedPorts(clock=clock, read=SystemPressure().read, emit=self._emit),
        )

    def _commit_records(self) -> None:
        self._writer.run(
            lambda: Outbox(self._database, self._boot, self._config.outbox),
            self._path.tick,
        )

    def _make_oip(self, folders: tuple[Path, Path], beside: Beside) -> OipApi:
        metrics = WorkerMetrics(
            self._path,
            MetricsPorts(
                outbox=self._read_outbox,
                dropped=lambda: self._writer.dropped,
                rss_bytes=rss_bytes,
                uptime_s=self._api.uptime_s,
                shadow=lambda: beside.view().summary,
            ),
        )
        ports = ApiPorts(
            spawn=self._spawn,
            count=metrics.count_answer,
            after_reply=beside.after_reply,
        )
        models = WorkerModels(self._path, metrics)
        return OipApi(self._config.api, folders, models, ports)

    def _addresses(self) -> list[str]:
        socket = self._database.with_name(SOCKET_FILE)
        return [f"unix://{socket}", *self._oip.addresses()]

    def _read_outbox(self) -> dict[Lane, LaneStats]:
        outbox = Outbox(self._database, self._boot, self._config.outbox)
        try:
            return outbox.stats()
        finally:
            outbox.close()

    def _watch_stdin(self) -> None:
        # Read past Python's buffers: their lock would hang the interpreter's exit.
        while os.read(0, 4096):
            pass
        self._stop.set()

    def _give_up(self) -> None:
        self._failed = True
        self._stop.set()

    def _spawn(self, name: str, body: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(
            target=self._guard, args=(name, body), name=name, daemon=True
        )
        thread.start()
        return thread

    def _guard(self, name: str, body: Callable[[], None]) -> None:
        try:
            body()
        except Exception:
            log.exception(THREAD_DIED, extra={"thread_name": name})
            self._give_up()


def _tell_nobody(_record: AnyRecord) -> None:
    """There is no hub: what nobody will ever ask for is not kept."""


def _open_engine(files: LoadedRelease) -> Engine:
    release = files.release
    return Engine.of_bundle(files.model, release.bundle, release=release.release)


def is_fd(text: str) -> bool:
    """Tell whether a word is a descriptor's number, or -1 for none."""
    return text == "-1" or text.isdecimal()


def main(argv: list[str]) -> int:
    """Run a worker; return its exit code."""
    match argv:
        case ["--config", path, "--boot", boot]:
            started = Started(config_path=Path(path), boot=boot)
        case ["--config", path, "--boot", boot, "--ring", fd, problem] if is_fd(fd):
            ring = GivenRing(fd=int(fd), problem=problem)
            started = Started(config_path=Path(path), boot=boot, ring=ring)
        case _:
            sys.stderr.write(f"{USAGE}\n")
            return ExitCode.USAGE
    set_up_logging()
    try:
        config = read_agent_config(started.config_path)
        go_first_when_memory_ends()
        use_backend(config.worker.backend)
        limit_memory(config.worker.memory_bytes)
        threading.stack_size(STACK_BYTES)
        return Worker(config, started, SystemClock()).run()
    except ShoalError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

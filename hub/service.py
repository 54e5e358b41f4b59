"""The composition root of the hub: services, threads, and their end.

``hub serve`` is one process with five threads: the link's network thread, the ingest
writer, the ticker (which steps everything that is not telemetry), HTTP, and blocks of
artifacts; or several
processes that have some of them each (:mod:`hub.role`). A thread that dies takes the
process down with a clear log, because a hub that lost one of them only looks alive. The
command line uses the same services without the threads.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from edge_agent.base.clock import Clock
from edge_agent.base.exit_codes import ExitCode
from edge_agent.wire.topics import Address, Leaf
from hub.blocks import BlockServer
from hub.clock_trust import keep_clock, tick_clock
from hub.clock_witnesses import open_clock
from hub.config import Home, HubConfig
from hub.devices.gone import GoneService
from hub.devices.service import DeviceService
from hub.home import read_home
from hub.identity.access import Access
from hub.identity.enforcement import Enforcement
from hub.identity.journal import renew_revocations
from hub.identity.service import IdentityService
from hub.releases.roles import MODELS
from hub.releases.seen import seen_by_devices
from hub.releases.service import ReleaseService
from hub.releases.signer import Signer
from hub.releases.tuf_repo import TufRepo
from hub.retrain.service import RetrainService
from hub.role import Part, release_part, take_part
from hub.rollout.service import RolloutService
from hub.scratch import sweep
from hub.storage.db import open_database
from hub.storage.retention import Retention
from hub.ticker import Step, Ticker

if TYPE_CHECKING:
    from hub.api.server import HttpServer
    from hub.monitor.service import MonitorService

log = logging.getLogger(__name__)

HUB_STARTED = "hub.started"
HUB_STOPPED = "hub.stopped"
THREAD_DIED = "hub.thread_died"

REFRESH_S = 60.0
STOP_S = 2.5
"""Within this, the threads end; a process manager waits a little longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The services over one home folder, ready to be called from one thread each."""

    home: Home
    config: HubConfig
    engine: Engine
    clock: Clock
    tuf: TufRepo
    releases: ReleaseService
    devices: DeviceService
    identity: IdentityService
    enforcement: Enforcement
    rollouts: RolloutService
    retrain: RetrainService
    gone: GoneService


def open_services(
    home: Home, clock: Clock | None = None, signer: Signer | None = None
) -> Services:
    """Open the database of a home folder and compose the services over it.

    Without ``signer`` the hub's own keys sign: others do when a person brings them.

    Raises:
        NotFoundError: There is no hub in this folder (``HUB-HOME-003``).
        SettingsError: The configuration cannot be used.
        HubError: The database cannot be opened.
    """
    config = read_home(home)
    engine = open_database(home.database_url(config))
    tuf = TufRepo(home.tuf, signer or Signer([home.keys]))
    tuf.seen = seen_by_devices(engine, tuf)
    renew_revocations(engine, home)
    clock = clock or open_clock(home, engine, tuf)
    releases = ReleaseService(engine, home, config.monitor, clock, tuf)
    access = Access(engine, clock, expires=config.broker.tls.enabled)
    devices = DeviceService(engine, config, clock, tuf, access)
    rollouts = RolloutService(
        engine, config.rollout, clock, devices, min_release=tuf.min_release
    )

    def take_in(bundle: Path) -> int:
        release = releases.take_in_once(bundle)
        if tuf.can_sign(MODELS):
            releases.publish(release)
        return release

    retrain = RetrainService(
        engine,
        home,
        config,
        clock,
        collect=devices.collect,
        take_in=take_in,
        roll_out=rollouts.start,
    )
    identity = IdentityService(engine, home, config.identity, clock, access)
    return Services(
        home=home,
        config=config,
        engine=engine,
        clock=clock,
        tuf=tuf,
        releases=releases,
        devices=devices,
        identity=identity,
        enforcement=Enforcement(engine, home, identity, clock),
        rollouts=rollouts,
        retrain=retrain,
        gone=GoneService(engine, home, clock),
    )


class Hub:
    """Everything that ``hub serve`` runs."""

    def __init__(self, services: Services, part: Part | None = None) -> None:
        """Compose what a part has (by default everything); nothing is started yet.

        Raises:
            ConflictError: Another process has this part (``HUB-SERVE-001``).
        """
        from hub.devices.link_beat import LinkBeat
        from hub.identity.broker import hub_broker
        from hub.ingest.writer import IngestWriter
        from hub.link import HubLink

        self._services = services
        self._part = part = part or Part()
        self._locks = take_part(services.home, part)
        config = services.config
        self._stop = threading.Event()
        self._died = ""
        self._writer = IngestWriter(
            services.engine,
            services.clock,
            self._publish_ack,
            config.ingest,
            part.shard,
        )
        self._link = HubLink(
            hub_broker(services.home, config.broker, suffix=part.suffix),
            on_batch=self._writer.offer if part.ingests else None,
            on_control=self._take_control if part.controls else None,
            on_up=services.devices.republish_all,
        )
        if part.controls:
            self._link.watch_metadata(lambda: services.tuf.root(1) or b"")
        self._writer.find_denied = services.identity.access.denied
        self._writer.overload.hear = self._link.hear
        self._blocks = self._block_server()
        self._retention = Retention(
            services.engine, services.clock, config.storage.keep_days
        )
        self._beat = LinkBeat(services.engine, services.clock)
        self._monitor = self._monitoring()

    def _monitoring(self) -> "MonitorService":
        """Compose the monitor and the watches whose alerts it keeps."""
        from hub.monitor.clock import ClockWatch
        from hub.monitor.late_evidence import LateEvidenceWatch
        from hub.monitor.metadata import MetadataWatch
        from hub.monitor.overuse import OveruseWatch
        from hub.monitor.service import MonitorService

        services, config = self._services, self._services.config
        metadata = MetadataWatch(
            services.engine, services.tuf, config.monitor.metadata_lag_s
        )
        late = LateEvidenceWatch(services.engine)
        self._caches = (metadata.look_again, late.look_again)
        clock = ClockWatch(services.clock, services.tuf)
        overuse = OveruseWatch(services.engine)
        return MonitorService(
            services.engine,
            services.home,
            config,
            services.clock,
            watches=[w.observe for w in (metadata, late, overuse, clock)],
        )

    def request_stop(self) -> None:
        """Ask :meth:`run` to end; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> int:
        """Serve until a stop is requested or a thread dies; return the exit code.

        Raises:
            UnreachableError: The HTTP port cannot be used, or the broker may not be
                (``HUB-LINK-001``).
        """
        if self._part.controls:
            sweep(self._services.home.folders())
        http = self._http() if self._part.controls else None
        threads: list[threading.Thread] = []
        if self._part.ingests:
            ingest = self._thread("ingest", lambda: self._writer.run(self._stop))
            threads.append(ingest)
        if http is not None:
            threads.append(self._thread("ticker", self._tick))
            threads.append(self._thread("http", http.run))
            blocks = self._thread("blocks", lambda: self._blocks.run(self._stop))
            threads.append(blocks)
        self._link.start()
        for thread in threads:
            thread.start()
        api = self._services.config.api
        facts = {"role": self._part.role, "host": api.host, "port": api.port}
        log.info(HUB_STARTED, extra=facts if http is not None else {"role": "ingest"})
        self._stop.wait()
        if http is not None:
            http.request_stop()
        deadline = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._services.retrain.close()
        self._link.stop()
        if http is not None:
            http.close()
        if self._part.controls:
            keep_clock(self._services.clock)
        release_part(self._locks)
        log.info(HUB_STOPPED, extra={"reason": self._died or "asked to"})
        return ExitCode.FAILED if self._died else ExitCode.OK

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Make a thread whose end, other than by a stop, stops the process."""

        def guarded() -> None:
            try:
                work()
            except BaseException:
                log.critical(THREAD_DIED, extra={"in_thread": name}, exc_info=True)
                self._died = self._died or name
            else:
                if not self._stop.is_set():
                    log.critical(THREAD_DIED, extra={"in_thread": name})
                    self._died = self._died or name
            finally:
                self._stop.set()

        return threading.Thread(target=guarded, name=name, daemon=True)

    def _tick(self) -> None:
        Ticker(self._steps()).run(self._stop, self._services.config.tick_s)

    def _steps(self) -> list[Step]:
        services = self._services
        return [
            Step(name="clock", work=lambda: tick_clock(services.clock)),
            Step(
                name="releases",
                work=services.releases.refresh,
                period_s=REFRESH_S,
            ),
            Step(name="link", work=lambda: self._beat.tick(up=self._link.connected)),
            Step(name="access", work=services.enforcement.tick),
            Step(name="devices", work=services.devices.receive),
            # Before the monitor, which may keep what it reads of a device.
            Step(name="forget", work=self._forget),
            Step(name="monitor", work=self._monitor.tick),
            Step(name="retrain", work=services.retrain.tick),
            Step(name="rollouts", work=services.rollouts.tick),
            Step(name="retention", work=self._retention.tick),
            Step(name="publish", work=self._publish),
        ]

    def _publish(self) -> None:
        releases = self._services.releases
        self._services.devices.flush(
            self._link.publish,
            releases.tuf_version,
            releases.tuf_bundle,
            self._link.fits,
        )

    def _forget(self) -> None:
        self._services.gone.tick(self._link.publish, self._forget_cached)

    def _forget_cached(self) -> None:
        """Drop what is kept in memory of devices that were just forgotten."""
        for look_again in self._caches:
            look_again()
        self._monitor.reload()

    def _take_control(self, address: Address, payload: bytes) -> None:
        if address.kind is Leaf.BLOCK_GET:
            self._blocks.offer(address.device, payload)
        else:
            self._services.devices.inbox.put(address, payload)

    def _publish_ack(self, topic: str, payload: bytes) -> None:
        self._link.send(topic, payload)

    def _block_server(self) -> BlockServer:
        services = self._services
        return BlockServer(
            services.home.artifacts,
            self._link.send_through,
            services.clock,
            services.identity.access.is_denied,
        )

    def _http(self) -> "HttpServer":
        from hub.api.server import HttpServer

        return HttpServer(self._services, lambda: self._link.connected)

"""The worker's sources and sinks: opened, run, counted and stopped together.

Called by the worker, whose threads these are. A sample of a source is background work:
requests of the local API go before it. Every answered sample, of a source or of the
API, is offered to every sink. What they are made of is imported where there is one.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.base.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.errors import AgentError, SampleRejectedError
from edge_agent.pipeline.infer import Loaded
from edge_agent.pipeline.path import SamplePath
from edge_agent.pipeline.recent import Entry
from edge_agent.pipeline.shedder import Shedder
from edge_agent.pipeline.shedding import Shed
from edge_agent.pipeline.waiting import Urgency
from edge_agent.serve.joined import Values, join_inputs, split_row
from edge_agent.serve.protocol import FlowStatus
from edge_agent.wire.manifest import InputContract
from edge_agent.worker_api import reply_of

if TYPE_CHECKING:
    from edge_agent.serve.sinks.opening import Body
    from edge_agent.serve.sinks.port import Sink
    from edge_agent.serve.sources.port import Source, Taken

SAMPLE_REFUSED = "source.sample.refused"
MAX_COMPLAINTS = 16
JOIN_S = 4.0

log = logging.getLogger(__name__)

Spawn = Callable[[str, Callable[[], None]], threading.Thread]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the worker's files are, and which boot this is."""

    folder: Path
    state_dir: Path
    boot: str


class Flows:
    """All sources and sinks of one worker."""

    def __init__(self, config: AgentConfig, place: Place, clock: Clock) -> None:
        """Make the sinks; sources wait for :meth:`open`."""
        self._config = config
        self._place = place
        self._clock = clock
        self._stop = threading.Event()
        self._complaints: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._sources: list[Source] = []
        self._sinks: list[Sink] = []
        self._sink_bodies: dict[str, Body] = {}
        self._joined: tuple[Loaded | None, InputContract | None] = (None, None)
        if config.sinks:
            from edge_agent.serve.sinks.opening import open_sinks

            self._sinks, self._sink_bodies = open_sinks(config.sinks, place.folder)

    def open(self, path: SamplePath, spawn: Spawn, shedder: Shedder) -> None:
        """Make the sources, which give their samples to ``path``."""
        self._path = path
        self._spawn = spawn
        if not self._config.all_sources:
            return
        from edge_agent.serve.sources.opening import open_sources
        from edge_agent.serve.sources.port import SourcePorts

        ports = SourcePorts(
            clock=self._clock,
            contract=self._contract,
            ask=self._ask,
            spawn=self._start_thread,
            skips=shedder.skips,
            defers=lambda: shedder.leaves_out(Shed.BULK),
        )
        place = self._place
        self._sources = open_sources(
            self._config.all_sources, place.folder, place.state_dir, ports
        )

    def start(self) -> None:
        """Start everything; sinks first, so that they miss nothing."""
        bodies = dict(self._sink_bodies)
        bodies |= {f"sink-{sink.name}": sink.run for sink in self._sinks}
        bodies |= {f"source-{source.name}": source.run for source in self._sources}
        for name, body in bodies.items():
            self._start_thread(name, partial(body, self._stop))

    def stop(self) -> None:
        """Let every thread end, for a bounded time."""
        self._stop.set()
        deadline = self._clock.mono() + JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock.mono()))

    def answered(self, entry: Entry, stream: str) -> None:
        """Offer an answered sample to the sinks; any thread may, none is held up."""
        if not self._sinks:
            return
        from edge_agent.serve.sinks.port import notice_of

        notice = notice_of(
            reply_of(entry),
            boot=self._place.boot,
            device=self._config.device.id,
            stream=stream,
        )
        now = self._clock.mono()
        for sink in self._sinks:
            sink.offer(notice, now)

    def sources_status(self) -> list[FlowStatus]:
        """Return what came of each source's samples."""
        return [
            FlowStatus(
                name=source.name,
                kind=source.kind,
                problem=source.problem[:4096],
                done=source.counters.answered,
                rejected=source.counters.rejected,
                failed=source.counters.failed,
                dropped=source.counters.dropped,
                files_done=source.counters.files_done,
                files_failed=source.counters.files_failed,
            )
            for source in self._sources
        ]

    def sinks_status(self) -> list[FlowStatus]:
        """Return what came of each sink's notices."""
        return [
            FlowStatus(
                name=sink.name,
                kind=sink.kind,
                problem=sink.problem[:4096],
                done=sink.counters.sent,
                failed=sink.counters.failed,
                dropped=sink.counters.dropped,
            )
            for sink in self._sinks
        ]

    def _start_thread(self, name: str, body: Callable[[], None]) -> None:
        self._threads.append(self._spawn(name, body))

    def _contract(self) -> InputContract | None:
        ladder = self._path.ladder
        loaded = ladder.active or ladder.previous
        if loaded is None:
            return None
        # Asked for every row: made once a model.
        known, contract = self._joined
        if known is not loaded:
            contract = join_inputs(loaded.inputs)
            self._joined = loaded, contract
        return contract

    def _ask(self, stream: str, sample_id: str, sample: Values) -> "Taken":
        from edge_agent.serve.sources.port import Outcome, Taken

        contract = self._contract()
        given = sample if contract is None else split_row(sample, contract)
        try:
            self._path.infer(
                sample_id, given, urgency=Urgency.BACKGROUND, stream=stream
            )
        except SampleRejectedError as error:
            self._complain(error)
            return Taken(outcome=Outcome.REJECTED, why=f"{error.reason}: {error.text}")
        except AgentError as error:
            self._complain(error)
            outcome = Outcome.BUSY if error.retryable else Outcome.FAILED
            return Taken(outcome=outcome, why=error.text)
        return Taken(outcome=Outcome.ANSWERED)

    def _complain(self, error: AgentError) -> None:
        # Counted already; said once for each text.
        known = self._complaints
        if error.text not in known and len(known) < MAX_COMPLAINTS:
            known.add(error.text)
            log.warning(SAMPLE_REFUSED, extra={"why": error.text})

"""What the ring of own inputs costs a prediction, and its memory.

Two sample paths over one model, one with a ring and one without, answer the same
samples in turn, call by call, so what the machine does beside hits both. The ring is
full and an hour old: what it costs then is what it costs for ever.
"""

import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.base.clock import SystemClock
from edge_agent.base.randomness import KernelRandom
from edge_agent.config import EvidenceConfig, ProfileConfig
from edge_agent.engine import Engine
from edge_agent.evidence.memory import open_memory
from edge_agent.evidence.recorder import Recorder
from edge_agent.evidence.ring_writer import RingWriter
from edge_agent.pipeline.collect import Collector, CollectState
from edge_agent.pipeline.infer import Ladder, Loaded
from edge_agent.pipeline.owner import Owner
from edge_agent.pipeline.path import PathPorts, SamplePath
from edge_agent.wire.profile import ProfileData, ReferenceProfile
from edge_agent.worker_api import rss_bytes
from tests.fakes.worker_device import DATA, LABELS, samples
from tests.perf.report import Metric

ROUNDS = 41
BLOCK = 400
HOUR_S = 3600.0
SAMPLES = 64
Ask = Callable[[int], object]


class Ahead(SystemClock):
    """The machine's clock, moved on as a test wants it."""

    ahead = 0.0

    def mono(self) -> float:
        """Return the machine's monotonic time, moved on."""
        return time.monotonic() + self.ahead


def measure(folder: Path) -> list[Metric]:
    """Return the cost in microseconds a prediction (median) and the memory."""
    memory = open_memory(EvidenceConfig(), folder)
    try:
        return _measure(memory.fd)
    finally:
        os.close(memory.fd)


def _measure(fd: int) -> list[Metric]:
    clock = Ahead()
    recorder = Recorder(RingWriter.attach(fd), KernelRandom(), clock.mono)
    loaded = _loaded()
    plain, kept = _path(loaded, clock, None), _path(loaded, clock, recorder)
    for number in range(300):
        kept(number)
        plain(number)
    clock.ahead = HOUR_S
    kept(0)  # The first one after an hour is always due.
    rounds = [_round(plain, kept, place % 2 > 0) for place in range(ROUNDS)]
    loaded.owner.close()
    differences = [with_it - without for without, with_it in rounds]
    full = recorder.view()
    before = rss_bytes()
    again = RingWriter.attach(fd)
    again.ring.slots(again.ring.layout)
    rss = max(rss_bytes() - before, 0)
    return [
        Metric(
            name="ring: added to predict, median",
            value=statistics.median(differences),
            unit="us",
            at_most=1.0,
        ),
        Metric(
            name="ring: predict with it, median",
            value=statistics.median(with_it for _, with_it in rounds),
            unit="us",
        ),
        Metric(
            name="ring: memory, all of it mapped",
            value=full.bytes / 2**20,
            unit="MiB",
            at_most=1.0,
        ),
        Metric(name="ring: another map of it, resident", value=rss / 2**20, unit="MiB"),
        Metric(name="ring: samples kept", value=full.kept, unit="samples"),
    ]


def _round(plain: Ask, kept: Ask, kept_first: bool) -> tuple[float, float]:  # noqa: FBT001
    """Return the medians of a block without and with the ring, in microseconds."""
    times: dict[Ask, list[int]] = {plain: [], kept: []}
    order = (kept, plain) if kept_first else (plain, kept)
    for number in range(BLOCK):
        for ask in order:
            started = time.perf_counter_ns()
            ask(number)
            times[ask].append(time.perf_counter_ns() - started)
    return statistics.median(times[plain]) / 1e3, statistics.median(times[kept]) / 1e3


def _loaded() -> Loaded:
    engine = Engine((DATA / "tiny.tflite").read_bytes(), labels=LABELS)
    owner = Owner(engine)
    threading.Thread(target=owner.run, daemon=True).start()
    return Loaded(
        owner=owner,
        name="tiny",
        release=1,
        sha256="0" * 64,
        labels=tuple(LABELS),
        contract=engine.contract,
        outputs=engine.answers,
        reference=ReferenceProfile(
            model="tiny", channels=[], data=ProfileData(rows=0, counts=[])
        ),
        reference_sha256="0" * 64,
    )


def _path(loaded: Loaded, clock: Ahead, recorder: Recorder | None) -> Ask:
    def nothing(_: object) -> None:
        return None

    def save(_: CollectState) -> None:
        return None

    path = SamplePath(
        ProfileConfig(),
        Collector(None),
        PathPorts(clock=clock, emit=nothing, save_collect=save, recorder=recorder),
    )
    path.swap(Ladder(active=loaded))
    inputs = list(samples(SAMPLES))
    ids = [f"s{number}" for number in range(BLOCK)]
    return lambda number: path.infer(ids[number % BLOCK], inputs[number % SAMPLES])

"""What ``edge-agent bench`` measured of one model on one device: a document to keep.

It is written on a device and read by the hub (``hub bench add``), which compares models
by hardware class with it.
"""

from typing import Annotated

from msgspec import Meta

from edge_agent.wire.types import Count, Instant, Message, Sha256, Short

BENCH_FORMAT = 1
Microseconds = Annotated[float, Meta(ge=0, le=1e12)]


class BenchReport(Message, frozen=True, kw_only=True):
    """Figures of one model on one machine.

    ``latency`` maps a log bin (:mod:`edge_agent.sketch.latency`) to how many
    predictions took so long. ``cold_start_s`` is from the start of a process to its
    first answer, ``rss_bytes`` that process's memory then. ``energy_mj`` is what the
    whole processor took a prediction, in millijoules (0: the kernel does not tell).
    """

    format: int = BENCH_FORMAT
    hardware: Short
    model: Short
    sha256: Sha256
    bytes: Count
    at: Instant
    agent: Short = ""
    runtime: Short = ""
    predictions: Count
    per_s: Annotated[float, Meta(ge=0)]
    p50_us: Microseconds
    p95_us: Microseconds
    p99_us: Microseconds
    max_us: Microseconds
    latency: dict[str, Count] = {}
    cold_start_s: Annotated[float, Meta(ge=0)]
    rss_bytes: Count
    energy_mj: Annotated[float, Meta(ge=0)] = 0.0

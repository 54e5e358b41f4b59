"""``scripts/bench sync``: what it costs to lose nothing."""

from pathlib import Path

from tests.perf import footprint, ingest, outbox, wire_bytes
from tests.perf.report import Metric, Part, measure_parts

PARTS: tuple[Part, ...] = (
    ("outbox", outbox.measure),
    ("bytes on the wire", wire_bytes.measure),
    ("ingest", ingest.measure),
    ("memory of the supervisor", footprint.measure),
)


def measure(folder: Path) -> list[Metric]:
    """Measure every part in a scratch folder inside ``folder``."""
    return measure_parts(PARTS, folder)

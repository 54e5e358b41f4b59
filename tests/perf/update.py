"""``scripts/bench update``: what it costs to be safe while models change."""

from pathlib import Path

from tests.perf import delta, rollback, swaps, tuf_memory
from tests.perf.report import Metric, Part, measure_parts

PARTS: tuple[Part, ...] = (
    ("memory of a TUF check", tuf_memory.measure),
    ("rollback and restart", rollback.measure),
    ("swaps under load", swaps.measure),
    ("sizes of updates", delta.measure),
)


def measure(folder: Path) -> list[Metric]:
    """Measure every part in a scratch folder inside ``folder``."""
    return measure_parts(PARTS, folder)

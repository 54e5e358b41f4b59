"""``scripts/bench sync``: what it costs to lose nothing."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from tests.perf import footprint, ingest, outbox, wire_bytes
from tests.perf.report import Metric

PARTS: tuple[tuple[str, Callable[[Path], list[Metric]]], ...] = (
    ("outbox", outbox.measure),
    ("bytes on the wire", wire_bytes.measure),
    ("ingest", ingest.measure),
    ("memory of the supervisor", footprint.measure),
)


def measure(folder: Path) -> list[Metric]:
    """Measure every part in a scratch folder inside ``folder``."""
    metrics: list[Metric] = []
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=folder) as scratch:
        for place, (name, part) in enumerate(PARTS):
            click.echo(f"{place + 1}/{len(PARTS)} {name}…", err=True)
            home = Path(scratch).resolve() / str(place)
            home.mkdir()
            metrics += part(home)
    return metrics

"""Metrics with their targets; the table and the JSON document that hold them."""

import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hub.cli.output import print_table

ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One measured figure. Without a target it is told for orientation."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def target(self) -> str:
        """The target for people; empty if there is none."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}"

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; ``None`` without one."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most


Part = tuple[str, Callable[[Path], list[Metric]]]
"""What a suite measures: its name for people, and how, in a folder of its own."""
Rounds = dict[str, float]


def measure_parts(parts: Sequence[Part], folder: Path) -> list[Metric]:
    """Measure one part after the other in a scratch folder inside ``folder``."""
    metrics: list[Metric] = []
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=folder) as scratch:
        for place, (name, part) in enumerate(parts):
            click.echo(f"{place + 1}/{len(parts)} {name}…", err=True)
            home = Path(scratch).resolve() / str(place)
            home.mkdir()
            metrics += part(home)
    return metrics


def medians(measure: Callable[[], Rounds], rounds: int = ROUNDS) -> Rounds:
    """Measure in turn, several times; return the median of each figure."""
    found = [measure() for _ in range(rounds)]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def print_metrics(metrics: Sequence[Metric]) -> None:
    """Print ``metric, value, unit, target, holds``."""
    verdicts = {True: "yes", False: "no", None: ""}
    print_table(
        ("metric", "value", "unit", "target", "holds"),
        [
            (m.name, _short(m.value), m.unit, m.target, verdicts[m.holds])
            for m in metrics
        ],
    )


def write_json(path: Path, metrics: Sequence[Metric]) -> None:
    """Write the same as one document."""
    document: dict[str, Any] = {
        "metrics": {
            m.name: {
                "value": m.value,
                "unit": m.unit,
                "target": m.target or None,
                "holds": m.holds,
            }
            for m in metrics
        },
        "machine": {
            "system": platform.system(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
        },
    }
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

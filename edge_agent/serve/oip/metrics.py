"""Figures as the text that Prometheus reads (format 0.0.4). Pure.

The format is a dozen lines of code; a client library would be a dependency of every
device for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge_agent.sketch.latency import BINS_PER_DOUBLING, middle_us

FIRST_DOUBLING, LAST_DOUBLING = 2, 20
"""Buckets end at 4 us, 8 us, … 1.05 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One line: a value and what tells it from others of its name."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """All lines of one name. ``help`` is one line of text."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Sequence[Sample]


def counter(name: str, help_: str, value: float) -> Family:
    """Return a counter of one line."""
    return Family(name=name, kind="counter", help=help_, samples=[Sample(value=value)])


def gauge(name: str, help_: str, value: float) -> Family:
    """Return a gauge of one line."""
    return Family(name=name, kind="gauge", help=help_, samples=[Sample(value=value)])


def by_label(name: str, help_: str, label: str, values: Mapping[str, float]) -> Family:
    """Return a counter with one line a key of ``values``."""
    samples = [
        Sample(value=value, labels={label: key}) for key, value in values.items()
    ]
    return Family(name=name, kind="counter", help=help_, samples=samples)


def latency_histogram(name: str, help_: str, bins: Mapping[int, int]) -> Family:
    """Return a histogram in seconds of counts in the bins of a latency sketch.

    Its buckets end at powers of two of a microsecond, where bins end too, so the counts
    are exact; the sum is that of the bins' middles, at most 2.2 % off.
    """
    samples = []
    for doubling in range(FIRST_DOUBLING, LAST_DOUBLING + 1):
        end = doubling * BINS_PER_DOUBLING
        below = sum(count for bin_, count in bins.items() if bin_ < end)
        bound = {"le": repr(2.0**doubling / 1e6)}
        samples.append(Sample(value=below, labels=bound, suffix="_bucket"))
    total = sum(bins.values())
    total_us = sum(middle_us(bin_) * count for bin_, count in bins.items())
    samples += [
        Sample(value=total, labels={"le": "+Inf"}, suffix="_bucket"),
        Sample(value=total_us / 1e6, suffix="_sum"),
        Sample(value=total, suffix="_count"),
    ]
    return Family(name=name, kind="histogram", help=help_, samples=samples)


def render_metrics(families: Iterable[Family]) -> str:
    """Return the text."""
    lines = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.help}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [_line(family.name, sample) for sample in family.samples]
    return "\n".join(lines) + "\n"


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escape(text)}"' for key, text in sample.labels.items())
    braced = f"{{{labels}}}" if labels else ""
    return f"{name}{sample.suffix}{braced} {_number(sample.value)}"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

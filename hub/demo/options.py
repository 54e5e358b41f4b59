"""What the command line asks of the demo."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One run: where it lives, its broker, its sensor's order, its seed."""

    folder: Path
    broker: str
    keep: bool
    sensor: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Several runs: the first one's options, and whether every second is loaded.

    The seed of each run is one more than that of the run before it.
    """

    options: Options
    runs: int
    load: bool

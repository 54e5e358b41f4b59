"""The stage that the acts play on: folders, processes, database, figures so far."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine

from hub.config import Home
from hub.demo.fleet import Wearer
from hub.demo.processes import Child, Processes
from hub.demo.scenario import Scenario
from hub.demo.waiting import wait_until
from hub.errors import HubError


class Screen(Protocol):
    """Where progress is shown."""

    def say(self, text: str) -> None:
        """Show what is happening within the present act."""


@dataclass(slots=True)
class Figures:
    """What the acts measured and the report tells."""

    drift_fired_at: float = 0.0
    labels_fired_at: float | None = None
    drift_summary: str = ""
    release_2_at: float = 0.0
    rollouts: dict[str, str] = field(default_factory=dict)
    on_release: dict[str, dict[str, int]] = field(default_factory=dict)
    bad_reason: str = ""
    bad_codes: dict[str, int] = field(default_factory=dict)
    gate: dict[str, float] = field(default_factory=dict)
    deltas: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything an act needs."""

    folder: Path
    home: Home
    engine: Engine
    processes: Processes
    screen: Screen
    wearers: tuple[Wearer, ...]
    scenario: Scenario
    exercises: int
    seed: int
    figures: Figures = field(default_factory=Figures)
    drill: Child | None = None

    @property
    def data(self) -> Path:
        """Where the recordings of the wearers are."""
        return self.folder / "data"

    def wait(
        self,
        condition: Callable[[], bool],
        what: str,
        *,
        timeout_s: float,
        explain: Callable[[], str] = lambda: "it did not happen",
    ) -> None:
        """Say what is waited for, then wait; see :func:`wait_until`."""
        self.screen.say(f"waiting for {what}")
        wait_until(
            condition, what, timeout_s=timeout_s, check=self.processes, explain=explain
        )

    def hub(self, *arguments: str) -> str:
        """Run ``hub`` as an operator would and return what it prints.

        Raises:
            HubError: It fails; the text is what it said.
        """
        return run(
            [sys.executable, "-m", "hub", "--home", str(self.home.path), *arguments]
        )


def run(argv: list[str]) -> str:
    """Run a command to its end and return its standard output.

    Raises:
        HubError: It exits with another code than 0.
    """
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HubError(
            "HUB-DEMO-003",
            f"`{' '.join(argv[2:])}` failed with exit code {done.returncode}: "
            f"{done.stderr.strip() or done.stdout.strip()}",
        )
    return done.stdout


def put_file(source: Path, target: Path) -> None:
    """Put a copy of a file in place in one step, as a new inode."""
    part = target.with_suffix(".part")
    shutil.copyfile(source, part)
    part.replace(target)


def now() -> float:
    """Return the wall time."""
    return time.time()


def read_json(text: str) -> object:
    """Decode what a command printed with ``--json``."""
    return json.loads(text)

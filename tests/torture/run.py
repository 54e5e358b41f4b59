"""One run: start all, kill by plan, let it drain, count."""

import contextlib
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.store.db import DB_FILE
from hub.storage.db import open_database
from tests.hub_broker import free_port
from tests.torture import device as device_program
from tests.torture import hub as hub_program
from tests.torture.children import Children, Program, broker
from tests.torture.device import QUIET_FILE, TRUTH_FILE
from tests.torture.hub import DATABASE_FILE
from tests.torture.plan import AGENT, BROKER, HUB, Kill, draw
from tests.torture.verdict import Outcome, compare

START_S = 30.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What to do; ``rate`` is records a second and device."""

    seed: int
    kills: int
    devices: int = 3
    persistence: bool = False
    rate: float = 200.0
    drain_limit_s: float = 120.0


class StoppedError(Exception):
    """The run was told to stop."""


class Torture:
    """One run in a folder of its own."""

    def __init__(self, run: Run, folder: Path, stop: threading.Event) -> None:
        """Prepare folders; nothing is started. ``stop`` ends the run early."""
        self._run = run
        self._folder = folder
        self._stop = stop
        self._devices = [folder / f"d{n}" for n in range(run.devices)]
        for device in self._devices:
            device.mkdir(parents=True)

    def carry_out(self, on_kill: Callable[[int], None] = lambda _done: None) -> Outcome:
        """Kill as planned, wait for the rest to arrive, and count.

        Raises:
            ChildDiedError: A process ended by itself.
            StoppedError: ``stop`` was set; every process is gone.
        """
        run = self._run
        plan = draw(run.seed, run.kills, run.devices, persistence=run.persistence)
        started = time.monotonic()
        with Children(self._folder) as children:
            self._start(children)
            self._follow(plan, children, on_kill)
            quiet, quiet_at = time.monotonic(), time.time()
            self._drain(children)
            drained = time.monotonic()
            children.end()
        did = Counter(kill.target for kill in plan)
        truth = [device / TRUTH_FILE for device in self._devices]
        return Outcome(
            seed=run.seed,
            persistence=run.persistence,
            agent_kills=did[AGENT],
            hub_kills=did[HUB],
            broker_kills=did[BROKER],
            counts=compare(truth, self._folder / DATABASE_FILE, quiet_at),
            run_s=round(drained - started, 1),
            drain_s=round(drained - quiet, 1),
        )

    def _start(self, children: Children) -> None:
        port, run, database = free_port(), self._run, self._folder / DATABASE_FILE
        # Makes the schema, and imports here what the hub would import at each start.
        open_database(f"sqlite:///{database}").dispose()
        children.start(BROKER, broker(self._folder, port, persistence=run.persistence))
        words = [str(self._folder), str(port)]
        children.start(HUB, Program(main=hub_program.main, words=words))
        for device in self._devices:
            words = [str(device), device.name, str(port), str(run.rate)]
            program = Program(main=device_program.main, words=words)
            children.start(device.name, program)
        self._wait(lambda: all(_writes(d) for d in self._devices), children, START_S)

    def _follow(
        self, plan: Sequence[Kill], children: Children, on_kill: Callable[[int], None]
    ) -> None:
        for done, kill in enumerate(plan, start=1):
            self._pause(kill.wait_s)
            children.check()
            name = f"d{kill.device}" if kill.target == AGENT else kill.target
            children.kill_and_restart(name)
            on_kill(done)

    def _drain(self, children: Children) -> None:
        """End the writing and wait until no device holds a record any more."""
        for device in self._devices:
            (device / QUIET_FILE).touch()
        self._wait(
            lambda: not any(_holds_records(d) for d in self._devices),
            children,
            self._run.drain_limit_s,
        )

    def _wait(
        self, done: Callable[[], bool], children: Children, limit_s: float
    ) -> None:
        """Wait until ``done``; what is not by then shows in the counts."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and not done():
            children.check()
            self._pause(POLL_S)

    def _pause(self, wait_s: float) -> None:
        if self._stop.wait(wait_s):
            raise StoppedError


def _writes(device: Path) -> bool:
    truth = device / TRUTH_FILE
    return truth.exists() and truth.stat().st_size > 0


def _holds_records(device: Path) -> bool:
    with contextlib.closing(sqlite3.connect(device / DB_FILE, timeout=15)) as conn:
        return conn.execute("SELECT 1 FROM outbox LIMIT 1").fetchone() is not None

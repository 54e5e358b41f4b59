"""Recordings played as the device's sensor, over and over.

A cycle takes the windows of all recordings in turn: the first window of each, then the
second of each, …; every cycle starts a few rows later, so no two are alike. A sample's
id is ``recording@offset#cycle``. When the file is replaced, its successor is played at
once. What is wrong inside a file (NaN, wrong axes, too short) is passed on and rejected
sample by sample; a file that cannot be read is named once and tried again.
"""

import logging
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.base.clock import Clock
from edge_agent.wire.manifest import InputContract

REPLAY_UNREADABLE = "replay.unreadable"
REPLAY_PLAYING = "replay.playing"
PHASE_ROWS = 7
CHECK_S = 1.0
MAX_LAG_S = 1.0
MAX_FILE_BYTES = 256 << 20
MAX_NAME = 96

Recordings = Mapping[str, NDArray[Any]]
Sink = Callable[[str, NDArray[Any]], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windowing:
    """How recordings are cut: rows of a window, and rows from one to the next."""

    length: int
    hop: int


def windowing_of(contract: InputContract) -> Windowing:
    """Return the windowing that a release's input contract asks for."""
    length = contract.tensor.shape[0] if contract.tensor.shape else 1
    return Windowing(length=length, hop=contract.hop or length)


def plan_cycle(
    lengths: Mapping[str, int], windowing: Windowing, cycle: int
) -> Iterator[tuple[str, int]]:
    """Yield (recording, offset) of one cycle, interleaved by window index.

    A recording shorter than a window is yielded once, at 0: it is rejected as such.
    """
    length, hop = windowing.length, windowing.hop
    start = (cycle * PHASE_ROWS) % hop
    offsets = {
        name: range(start, rows - length + 1, hop) if rows >= length else range(1)
        for name, rows in lengths.items()
    }
    for place in range(max(map(len, offsets.values()), default=0)):
        for name, wanted in offsets.items():
            if place < len(wanted):
                yield name, wanted[place]


def read_recordings(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an npz file.

    Raises:
        ValueError: It is not a readable npz file, or too large.
        OSError: It cannot be opened.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
    try:
        # Opened here: of a broken archive, NumPy would leave its own handle open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: np.atleast_1d(arrays[name]) for name in arrays.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError) as why:
        raise ValueError(f"not a readable npz file: {why}") from why


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPorts:
    """What the replay needs of the worker. No contract: nothing to play for yet."""

    clock: Clock
    contract: Callable[[], InputContract | None]
    sink: Sink


class Replay:
    """The replay source; :meth:`run` is its thread."""

    def __init__(self, path: Path, rate: float, ports: ReplayPorts) -> None:
        """Play ``path`` at ``rate`` samples a second."""
        self._path = path
        self._period_s = 1.0 / rate
        self._ports = ports
        self._stop = threading.Event()
        self._recordings: Recordings = {}
        self._stamp: tuple[int, int, int] | None = None
        self._checked = float("-inf")
        self._due = 0.0
        self.problem = ""
        """Why nothing is played, or empty."""

    def stop(self) -> None:
        """Let :meth:`run` return."""
        self._stop.set()

    def run(self) -> None:
        """Play cycle after cycle until :meth:`stop`."""
        cycle = 0
        while not self._stop.is_set():
            self._look()
            contract = self._ports.contract()
            if contract is None or not self._recordings:
                self._stop.wait(CHECK_S)
                continue
            self._play(windowing_of(contract), cycle)
            cycle += 1

    def _play(self, windowing: Windowing, cycle: int) -> None:
        """Play one cycle; end early when the file or the contract changes."""
        recordings = self._recordings
        lengths = {name: len(array) for name, array in recordings.items()}
        played = False
        for name, offset in plan_cycle(lengths, windowing, cycle):
            if self._stop.wait(self._pause_s()):
                return
            if self._look_sometimes() or not self._still(windowing):
                return
            played = True
            sample = recordings[name][offset : offset + windowing.length]
            self._ports.sink(f"{name[:MAX_NAME]}@{offset}#{cycle}", sample)
        if not played:
            # Nothing to cut at this phase: do not spin through empty cycles.
            self._stop.wait(CHECK_S)

    def _still(self, windowing: Windowing) -> bool:
        contract = self._ports.contract()
        return contract is not None and windowing_of(contract) == windowing

    def _pause_s(self) -> float:
        """Return how long to wait for the next sample's time.

        A source that fell behind goes on from now: a sensor does not catch up.
        """
        now = self._ports.clock.mono()
        self._due += self._period_s
        if self._due < now - MAX_LAG_S or self._due > now + self._period_s:
            self._due = now
        return max(self._due - now, 0.0)

    def _look_sometimes(self) -> bool:
        if self._ports.clock.mono() - self._checked < CHECK_S:
            return False
        return self._look()

    def _look(self) -> bool:
        """Read the file if it is new or changed; true if recordings changed."""
        self._checked = self._ports.clock.mono()
        try:
            stat = self._path.stat()
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return False
            recordings = read_recordings(self._path)
        except (OSError, ValueError) as error:
            self._complain(str(error))
            return False
        self._stamp, self._recordings, self.problem = stamp, recordings, ""
        log.info(
            REPLAY_PLAYING,
            extra={"path": str(self._path), "recordings": len(recordings)},
        )
        return True

    def _complain(self, why: str) -> None:
        if not self.problem:
            log.warning(REPLAY_UNREADABLE, extra={"path": str(self._path), "why": why})
        self.problem = why

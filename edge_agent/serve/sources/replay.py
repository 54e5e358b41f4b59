"""Recordings played as the device's sensor, over and over.

A cycle takes the windows of all recordings in turn: the first window of each, then the
second of each, …; every cycle starts a few rows later, so no two are alike. In sessions
it takes the recordings one after the other, each whole, in an order of its own, as
people do one thing at a time. A sample's id is ``recording@offset#cycle``. Of a model
with several inputs the file has an array for each, and a sample is a row of them all.
When the file is replaced, its successor is played at once. What is wrong inside a file
(NaN, wrong axes, too short) is passed on and rejected sample by sample; a file that
cannot be read is named once and tried again.
"""

import logging
import random
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config_flows import ReplaySource, kind_of, name_of
from edge_agent.serve.joined import Joined, Values, count_samples
from edge_agent.serve.sources.pace import Pace
from edge_agent.serve.sources.port import Intake, SourcePorts
from edge_agent.serve.windowing import WHOLE, Override, Windowing, windowing_of
from edge_agent.wire.manifest import InputContract

REPLAY_UNREADABLE = "replay.unreadable"
REPLAY_PLAYING = "replay.playing"
PHASE_ROWS = 7
CHECK_S = 1.0
MAX_FILE_BYTES = 256 << 20
MAX_NAME = 96
TOGETHER = "row"
"""What the samples of several inputs are called."""

Recordings = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)


def plan_cycle(
    lengths: Mapping[str, int], windowing: Windowing, cycle: int
) -> Iterator[tuple[str, int]]:
    """Yield (recording, offset) of one cycle, interleaved by window index.

    A recording shorter than a window is yielded once, at 0: it is rejected as such.
    """
    offsets = _offsets(lengths, windowing, cycle)
    for place in range(max(map(len, offsets.values()), default=0)):
        for name, wanted in offsets.items():
            if place < len(wanted):
                yield name, wanted[place]


def plan_sessions(
    lengths: Mapping[str, int], windowing: Windowing, cycle: int, seed: int
) -> Iterator[tuple[str, int]]:
    """Yield (recording, offset) of one cycle, each recording whole.

    The order of recordings follows from ``seed`` and ``cycle`` alone. The offsets are
    those of :func:`plan_cycle`, so a cycle has the same samples in either order.
    """
    offsets = _offsets(lengths, windowing, cycle)
    names = sorted(offsets)
    random.Random(f"{seed}/{cycle}").shuffle(names)  # noqa: S311 - nothing secret
    for name in names:
        for offset in offsets[name]:
            yield name, offset


def _offsets(
    lengths: Mapping[str, int], windowing: Windowing, cycle: int
) -> dict[str, range]:
    length, hop = windowing.length, windowing.hop
    start = (cycle * PHASE_ROWS) % hop
    return {
        name: range(start, rows - length + 1, hop) if rows >= length else range(1)
        for name, rows in lengths.items()
    }


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


def _lengths(recordings: Recordings, contract: InputContract) -> dict[str, int]:
    """Return the rows of each recording; of several inputs there is one.

    Raises:
        ValueError: There is not an array for each input, of equal lengths.
    """
    lengths = {name: len(array) for name, array in recordings.items()}
    if not isinstance(contract, Joined):
        return lengths
    return {TOGETHER: count_samples(lengths, contract.names)}


class Replay:
    """The replay source; :meth:`run` is its thread."""

    def __init__(self, config: ReplaySource, folder: Path, ports: SourcePorts) -> None:
        """Play the file of ``config``, whose path is relative to ``folder``."""
        self.name, self.kind = name_of(config), kind_of(config)
        self.problem = ""
        self._path = folder / config.path
        self._override = Override(length=config.length, hop=config.hop)
        self._period_s = 1.0 / config.rate
        self._order, self._seed = config.order, config.seed
        self._ports = ports
        self._intake = Intake(name=self.name, ports=ports)
        self.counters = self._intake.counters
        self._pace = Pace(ports.clock)
        self._recordings: Recordings = {}
        self._stamp: tuple[int, int, int] | None = None
        self._checked = float("-inf")
        self._misfit = False

    def run(self, stop: threading.Event) -> None:
        """Play cycle after cycle until told to stop."""
        cycle = 0
        while not stop.is_set():
            self._look()
            contract = self._ports.contract()
            if contract is None or not self._recordings:
                stop.wait(CHECK_S)
                continue
            try:
                lengths = _lengths(self._recordings, contract)
            except ValueError as error:
                self._complain(str(error))
                self._misfit = True
                stop.wait(CHECK_S)
                continue
            if self._misfit:
                self._misfit, self.problem = False, ""
            self._play(stop, contract, lengths, cycle)
            cycle += 1

    def _play(
        self,
        stop: threading.Event,
        contract: InputContract,
        lengths: Mapping[str, int],
        cycle: int,
    ) -> None:
        """Play one cycle; end early when the file or the contract changes."""
        recordings, windowing = self._recordings, self._cut(contract)
        played = False
        for name, offset in self._plan(lengths, windowing, cycle):
            if stop.wait(self._pace.wait_s(self._period_s)):
                return
            if self._look_sometimes() or not self._still(contract):
                return
            played = True
            sample: Values
            if isinstance(contract, Joined):
                sample = {one: recordings[one][offset] for one in contract.names}
            else:
                sample = recordings[name][offset : offset + windowing.length]
            sample_id = f"{name[:MAX_NAME]}@{offset}#{cycle}"
            self._intake.offer(sample_id, sample, stream=name)
        if not played:
            # Nothing to cut at this phase: do not spin through empty cycles.
            stop.wait(CHECK_S)

    def _plan(
        self, lengths: Mapping[str, int], windowing: Windowing, cycle: int
    ) -> Iterator[tuple[str, int]]:
        if self._order == "sessions":
            return plan_sessions(lengths, windowing, cycle, self._seed)
        return plan_cycle(lengths, windowing, cycle)

    def _cut(self, contract: InputContract) -> Windowing:
        if isinstance(contract, Joined):
            return WHOLE
        own, override = windowing_of(contract), self._override
        return Windowing(
            length=override.length or own.length, hop=override.hop or own.hop
        )

    def _still(self, before: InputContract) -> bool:
        contract = self._ports.contract()
        if isinstance(contract, Joined) or isinstance(before, Joined):
            return contract == before
        return contract is not None and self._cut(contract) == self._cut(before)

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

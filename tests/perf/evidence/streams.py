"""Streams of samples in the order in which a device meets them.

A :class:`Source` is what one wearer, station or line ever records: feature rows and
recordings (stretches of rows in their true order). An order lays them out in time:
``turns`` is the demo's sensor, in ``sessions`` a wearer does one exercise at a time,
``long`` sessions are whole recordings, ``as recorded`` is the recording itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.serve.sources.replay import plan_cycle
from edge_agent.serve.windowing import Windowing
from trainer.tasks.watch import HOP, ROWS
from trainer.tasks.watch_source import Recording, load_recordings

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

PHASE = 4
"""A window is cut at every fourth row; a device's hop is five of them."""
STRIDE = HOP // PHASE
FIFTHS = 5
ACCELEROMETER = 3 * FIFTHS
"""Features of the accelerometer, in g; they come first."""
SESSION_SHARE = 3
"""A session is a third of a recording: 27 windows or 11 s in the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one device can record: ``x`` is ``(n, features)``, ``y`` the class of each
    row, ``parts`` the first row and the number of rows of each recording, ``step`` how
    many rows a device moves on per sample.
    """  # noqa: D205 - the summary is one sentence

    name: str
    x: Floats
    y: NDArray[np.int64]
    parts: tuple[tuple[int, int], ...]
    step: int = 1


Order = Callable[[Source, int, np.random.Generator], Places]
"""Rows of a source in the order of ``n`` samples from a random moment on."""


def turns(source: Source, n: int, rng: np.random.Generator) -> Places:
    """Return rows as the demo's sensor plays them: a window of each recording."""
    windowing = Windowing(length=ROWS, hop=HOP)
    lengths = {str(i): ROWS + PHASE * (k - 1) for i, (_, k) in enumerate(source.parts)}
    places: list[int] = []
    cycle = int(rng.integers(HOP))
    skip = int(rng.integers(300))
    while len(places) < n + skip:
        for name, offset in plan_cycle(lengths, windowing, cycle):
            first, count = source.parts[int(name)]
            places.append(first + min(offset // PHASE, count - 1))
        cycle += 1
    return np.array(places[skip : skip + n])


def sessions(source: Source, n: int, rng: np.random.Generator) -> Places:
    """Return rows of one exercise at a time, each a third of a recording long."""
    return _one_at_a_time(source, n, rng, SESSION_SHARE)


def long_sessions(source: Source, n: int, rng: np.random.Generator) -> Places:
    """Return rows of one exercise at a time, each a whole recording long."""
    return _one_at_a_time(source, n, rng, 1)


def as_recorded(source: Source, n: int, rng: np.random.Generator) -> Places:
    """Return ``n`` consecutive rows (all there are, if fewer)."""
    first = int(rng.integers(max(len(source.x) - n, 0) + 1))
    return np.arange(first, min(first + n, len(source.x)))


def _one_at_a_time(
    source: Source, n: int, rng: np.random.Generator, share: int
) -> Places:
    found: list[Places] = []
    have, last = 0, -1
    while have < n:
        place = int(rng.integers(len(source.parts)))
        if place == last:
            continue
        first, count = source.parts[place]
        length = count // share
        start = first + int(rng.integers(count - length + 1))
        rows = np.arange(start, start + length, source.step)
        if not found:
            rows = rows[int(rng.integers(len(rows))) :]
        found.append(rows)
        have, last = have + len(rows), place
    return np.concatenate(found)[:n]


ORDERS: Mapping[str, Order] = {
    "turns": turns,
    "sessions": sessions,
    "long": long_sessions,
}


def watch_sources() -> dict[tuple[str, str], Source]:
    """Return the watch recordings by person and arm, as features of windows.

    Raises:
        DataError: See :func:`trainer.tasks.watch_source.load_recordings`.
    """
    by_wearer: dict[tuple[str, str], list[Recording]] = {}
    for recording in load_recordings():
        by_wearer.setdefault((recording.person, recording.arm), []).append(recording)
    return {who: _watch_source(who, parts) for who, parts in by_wearer.items()}


def _watch_source(who: tuple[str, str], recordings: list[Recording]) -> Source:
    cuts = [window_features(recording.rows) for recording in recordings]
    counts = [len(part) for part in cuts]
    starts = np.cumsum([0, *counts[:-1]]).tolist()
    return Source(
        name="-".join(who),
        x=np.concatenate(cuts),
        y=np.repeat([recording.exercise for recording in recordings], counts),
        parts=tuple(zip(starts, counts, strict=True)),
        step=STRIDE,
    )


def window_features(rows: Floats) -> Floats:
    """Return ``(windows, 30)`` of rows ``(n, 6)``: each axis' mean in five fifths of a
    window. They scale with the axis' unit; the first 15 are the accelerometer's.

    With them a stand-in net does as the demo's does: 66 to 76 % of windows right on the
    arms that it knows, a third on the other.
    """  # noqa: D205 - the summary is one sentence
    view = np.lib.stride_tricks.sliding_window_view(rows, ROWS, axis=0)[::PHASE]
    fifths = view.reshape(len(view), -1, FIFTHS, ROWS // FIFTHS)
    return np.asarray(fifths.mean(axis=3).reshape(len(view), -1), np.float32)

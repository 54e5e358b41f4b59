"""Finding what two files have in common: runs that are mostly equal.

As bsdiff does, a run begins where a few bytes are equal and goes on for as long as more
than half of its bytes are; what differs in it is left to a difference. Places are found
by sorting all windows of eight bytes, so the work is that of a sort. Called by
:mod:`edge_agent.delta.build`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW = 8
_BLOCK = 4096
_PATIENCE = 64
"""A run ends where it has that many more differing than equal bytes behind its best."""
_MIN_RUN = 12
MAX_RUNS = 1 << 15
"""So many runs are looked for; what is behind the last counts as new."""

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """``target[start:end]`` is mostly ``base[start + ahead:end + ahead]``."""

    start: int
    end: int
    ahead: int


class Matcher:
    """An index of the windows of a base."""

    def __init__(self, base: bytes) -> None:
        """Sort the windows; 16 bytes of memory for each byte of the base."""
        self._base = np.frombuffer(base, np.uint8)
        windows = _windows(self._base)
        self._order = np.argsort(windows, kind="stable")
        self._sorted = windows[self._order]

    def runs(self, target: bytes, start: int, end: int) -> Iterator[Run]:
        """Return the runs of ``target[start:end]``, in order and disjoint."""
        whole = np.frombuffer(target, np.uint8)
        found = self._find(_windows(whole[start:end]))
        known = np.flatnonzero(found >= 0)
        place, ahead = start, 0
        for _ in range(MAX_RUNS):
            index = int(np.searchsorted(known, place - start))
            if index == len(known):
                return
            first = int(known[index]) + start
            ahead = self._nearest(whole, first, ahead, int(found[first - start]))
            back = self._extend(whole, first - 1, ahead, -1, first - place)
            forth = self._extend(whole, first, ahead, 1, end - first)
            if back + forth >= _MIN_RUN:
                yield Run(start=first - back, end=first + forth, ahead=ahead)
                place = first + forth
            else:
                place = first + 1

    def _find(self, windows: NDArray[np.uint64]) -> Places:
        """Return a place in the base for each window, or -1."""
        if not len(self._sorted) or not len(windows):
            return np.full(len(windows), -1)
        index = np.searchsorted(self._sorted, windows)
        index = np.minimum(index, len(self._sorted) - 1)
        equal = self._sorted[index] == windows
        return np.where(equal, self._order[index], -1)

    def _nearest(self, target: Bytes, first: int, ahead: int, found: int) -> int:
        """Return where to go on: as before if that fits, else at the place found.

        Windows such as zeros are in many places, of which the index knows the first.
        """
        base = self._base[max(0, first + ahead) : first + ahead + WINDOW]
        same = first + ahead >= 0 and np.array_equal(
            base, target[first : first + WINDOW]
        )
        return ahead if same else found - first

    def _extend(
        self, target: Bytes, first: int, ahead: int, step: int, most: int
    ) -> int:
        """Return how far a run goes from ``first`` on, in one direction."""
        if step > 0:
            most = min(most, len(self._base) - first - ahead)
        else:
            most = min(most, first + ahead + 1)
        done = best = score = best_score = 0
        while done < most and score > best_score - _PATIENCE:
            size = min(_BLOCK, most - done)
            at = first + step * done
            theirs = _stretch(target, at, step, size)
            ours = _stretch(self._base, at + ahead, step, size)
            scores = score + np.cumsum(np.where(theirs == ours, 1, -1))
            top = int(scores.argmax())
            if scores[top] > best_score:
                best, best_score = done + top + 1, int(scores[top])
            done, score = done + size, int(scores[-1])
        return best


def _stretch(data: Bytes, at: int, step: int, size: int) -> Bytes:
    """Return ``size`` bytes from ``at`` on, or backwards."""
    return data[at : at + size] if step > 0 else data[at - size + 1 : at + 1][::-1]


def _windows(data: Bytes) -> NDArray[np.uint64]:
    """Return each window of eight bytes as one number."""
    if len(data) < WINDOW:
        return np.empty(0, np.uint64)
    view = np.lib.stride_tricks.sliding_window_view(data, WINDOW)
    return np.ascontiguousarray(view).view(np.uint64).ravel()

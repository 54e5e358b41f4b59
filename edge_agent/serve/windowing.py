"""How a stream of rows becomes samples. Pure; sources and file readers call it.

Invariant: the windows of a stream are the slices of the whole recording, at the same
offsets, whatever pieces its rows came in. A window never spans a gap: after
:meth:`Windower.reset` the next window begins with the next row.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.serve.joined import Joined
from edge_agent.wire.manifest import InputContract

Rows = NDArray[Any]
"""Rows of a stream: shape ``(n, *row)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windowing:
    """How recordings are cut: rows of a window, and rows from one to the next."""

    length: int
    hop: int


WHOLE = Windowing(length=1, hop=1)
"""Every row is a sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What a configuration says of the windowing; 0: as the contract says."""

    length: int = 0
    hop: int = 0


AS_CONTRACTED = Override()


def windowing_of(contract: InputContract) -> Windowing:
    """Return the windowing of a stream whose rows are the input's rows."""
    length = contract.tensor.shape[0] if contract.tensor.shape else 1
    return Windowing(length=length, hop=contract.hop or length)


def fit_windowing(
    contract: InputContract,
    row: Sequence[int],
    override: Override = AS_CONTRACTED,
) -> Windowing:
    """Return how a stream with rows of this shape is cut into the contract's samples.

    A row may be a row of the input (the usual case), a whole sample (an image, a
    vector of features), or a part of an input that is flat. Rows that fit in no way
    are cut like the input's own, so that they are rejected by their shape. Of several
    inputs a row is always a whole sample.
    """
    if isinstance(contract, Joined):
        return WHOLE
    shape, row = tuple(contract.tensor.shape), tuple(row)
    size, piece = math.prod(shape), math.prod(row)
    if override.length:
        length = override.length
    elif row == shape:
        return Windowing(length=1, hop=override.hop or 1)
    elif row and len(shape) == 1 and size % piece == 0:
        length = size // piece
    else:
        length = windowing_of(contract).length
    return Windowing(length=length, hop=override.hop or contract.hop or length)


def as_sample(window: Rows, contract: InputContract) -> Rows:
    """Return a window in the input's shape: one whole sample, or of a flat input."""
    shape = tuple(contract.tensor.shape)
    is_flat = len(shape) == 1 and window.size == shape[0]
    if is_flat or window.shape == (1, *shape):
        return window.reshape(shape)
    return window


def as_rows(
    values: NDArray[Any], contract: InputContract, *, is_stream: bool = False
) -> Rows:
    """Return what arrived at once as rows: of the input, whole samples, or numbers.

    Args:
        values: One row, several, one sample or several, or the same as flat numbers.
        contract: What a sample looks like; a row is ``shape[1:]`` of it. Single
            numbers are rows only where a hop says that the input is a window: of a
            vector of features, one number too few must not shift all that follow.
        is_stream: Whether the configuration gives a hop.

    Raises:
        ValueError: It is none of these.
    """
    shape = tuple(contract.tensor.shape)
    # Rows first: a message may hold just as many rows as a window has.
    forms = [shape[1:], shape]
    if len(shape) == 1:
        is_stream = (is_stream or contract.hop > 0) and not isinstance(contract, Joined)
        forms = [()] if is_stream else [shape]
    for row in forms:
        if values.shape == row:
            return values[np.newaxis]
        if values.ndim and values.shape[1:] == row:
            return values
    if values.ndim == 1 and values.size:
        for row in forms:
            if values.size % math.prod(row) == 0:
                return values.reshape(-1, *row)
    raise ValueError(
        f"values of shape {list(values.shape)} are no rows of samples of {list(shape)}"
    )


class Windower:
    """Cuts one stream of rows into windows."""

    def __init__(self, windowing: Windowing) -> None:
        """Start before the first row."""
        self.windowing = windowing
        self._held: Rows | None = None
        self._base = 0
        self._next = 0

    def push(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        """Take rows; return the windows that are complete now, with their offsets.

        Offsets count the rows of the stream from 0, also over a reset. The windows
        are views. Rows of another shape than those before are a reset.
        """
        if self._held is not None and self._held.shape[1:] != rows.shape[1:]:
            self.reset()
        held = rows if self._held is None else np.concatenate((self._held, rows))
        length, hop = self.windowing.length, self.windowing.hop
        base, first, end = self._base, self._next, self._base + len(held)
        count = max(0, (end - first - length) // hop + 1)
        self._next = first + count * hop
        used = min(self._next - base, len(held))
        self._base = base + used
        # A copy: a view would keep all that was used in memory.
        self._held = held[used:].copy()
        return (
            (at, held[at - base : at - base + length])
            for at in range(first, self._next, hop)
        )

    def reset(self) -> None:
        """Forget the rows of unfinished windows: the stream has a gap here."""
        self._base += len(self._held) if self._held is not None else 0
        self._held = None
        self._next = self._base

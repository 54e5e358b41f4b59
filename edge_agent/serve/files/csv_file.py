"""CSV files of numbers, one row a line, read in pieces.

A first line that is not numbers is a header; where it names all axes of the input,
these columns are taken, in the input's order. Empty cells are NaN, which the quality
check rejects in the windows that hold them; ``#`` begins a comment. Memory is bounded
whatever the file holds.
"""

import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from edge_agent.serve.files.progress import OnRead, ignore

MAX_LINE = 1 << 20
PIECE_ROWS = 1024
_FLOAT32: np.dtype[Any] = np.dtype(np.float32)

Rows = NDArray[Any]
"""Numbers of shape ``(n, columns)``."""

Lines = list[tuple[int, str]]
"""Number of the line in the file, and its text."""


def read_csv(
    path: Path,
    axes: Sequence[str] = (),
    on_read: OnRead = ignore,
    *,
    dtype: np.dtype[Any] = _FLOAT32,
) -> Iterator[Rows]:
    """Yield the rows in pieces of shape ``(n, columns)``.

    Args:
        path: The file, UTF-8.
        axes: Names of the columns that are wanted, if the header has them all.
        on_read: Told how far it is, piece by piece.
        dtype: The floats to read the numbers as.

    Raises:
        ValueError: It is not such a file; the text names the line.
        OSError: It cannot be read.
    """
    total = path.stat().st_size
    with path.open("rb") as raw, io.TextIOWrapper(raw, "utf-8-sig") as file:
        pieces = _pieces(file)
        first = next(pieces, [])
        columns: list[int] | None = None
        if first and not _is_numeric(first[0][1]):
            columns = _pick(first[0][1], axes)
            first = first[1:]
        width = 0
        for piece in _chain(first, pieces):
            rows = _parse(piece, dtype)
            if width and rows.shape[1] != width:
                raise ValueError(
                    f"line {piece[0][0]}: {rows.shape[1]} columns, not {width}"
                )
            width = rows.shape[1]
            on_read(raw.tell(), total)
            yield rows if columns is None else _columns_of(rows, columns)


def _chain(first: Lines, rest: Iterator[Lines]) -> Iterator[Lines]:
    if first:
        yield first
    yield from rest


def _pieces(file: TextIO) -> Iterator[Lines]:
    piece: Lines = []
    lines = iter(partial(file.readline, MAX_LINE), "")
    for number, line in enumerate(lines, 1):
        if len(line) == MAX_LINE and not line.endswith("\n"):
            raise ValueError(f"line {number} is longer than {MAX_LINE} characters")
        if text := line.partition("#")[0].strip():
            piece.append((number, text))
        if len(piece) == PIECE_ROWS:
            yield piece
            piece = []
    if piece:
        yield piece


def _is_numeric(line: str) -> bool:
    try:
        for cell in line.split(","):
            float(cell.strip() or "nan")
    except ValueError:
        return False
    return True


def _pick(header: str, axes: Sequence[str]) -> list[int] | None:
    names = [cell.strip().strip('"') for cell in header.split(",")]
    if not axes or not set(axes) <= set(names):
        return None
    return [names.index(axis) for axis in axes]


def _columns_of(rows: Rows, columns: list[int]) -> Rows:
    if max(columns) >= rows.shape[1]:
        raise ValueError("rows have fewer columns than the header")
    return rows[:, columns]


def _parse(piece: Lines, dtype: np.dtype[Any]) -> Rows:
    try:
        return np.loadtxt([text for _, text in piece], dtype, delimiter=",", ndmin=2)
    except ValueError:
        return _parse_slowly(piece, dtype)


def _parse_slowly(piece: Lines, dtype: np.dtype[Any]) -> Rows:
    """Parse line by line: empty cells are NaN, and an error names its line."""
    rows, width = [], 0
    for number, text in piece:
        try:
            row = [float(cell.strip() or "nan") for cell in text.split(",")]
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if width and len(row) != width:
            raise ValueError(f"line {number}: {len(row)} columns, not {width}")
        width = len(row)
        rows.append(row)
    return np.asarray(rows, dtype)

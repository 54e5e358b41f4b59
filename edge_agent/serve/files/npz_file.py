"""npz files, array by array and in pieces, so that none has to fit into memory.

Pickled objects are refused: they would be programs.
"""

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edge_agent.serve.files.progress import OnRead, ignore

PIECE_BYTES = 1 << 20
MAX_ROW_BYTES = 64 << 20
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,  # an array under a name without its suffix
    NotImplementedError,
    RuntimeError,  # what zipfile raises of an encrypted member
)
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(
    path: Path, on_read: OnRead = ignore
) -> Iterator[tuple[str, Iterator[NDArray[Any]]]]:
    """Yield each array's name and its rows in pieces of shape ``(n, *row)``.

    The pieces of one array must be taken before those of the next.

    Raises:
        ValueError: It is no npz file of numbers.
        OSError: It cannot be read.
    """
    with _readable(), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total, done = sum(member.file_size for member in members), 0
        for member in members:
            with archive.open(member) as file:
                pieces = _pieces(file, partial(_tell, on_read, done, total))
                yield member.filename.removesuffix(".npy"), pieces
            done += member.file_size


def read_array(path: Path, name: str) -> Iterator[NDArray[Any]]:
    """Yield the rows of one array in pieces of shape ``(n, *row)``.

    Raises:
        ValueError: There is none, or it holds no numbers.
        OSError: The file cannot be read.
    """
    with _opened(path) as archive, archive.open(f"{name}.npy") as file:
        yield from _pieces(file, lambda _at: None)


def count_rows(path: Path) -> dict[str, int]:
    """Return how many rows each array has.

    Raises:
        ValueError: It is no npz file.
        OSError: It cannot be read.
    """
    counts: dict[str, int] = {}
    with _opened(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                shape = _header(file)[0]
                counts[member.filename.removesuffix(".npy")] = shape[0] if shape else 1
    return counts


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with _readable(), zipfile.ZipFile(path) as archive:
        yield archive


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except _BROKEN as why:
        raise ValueError(f"not a readable npz file: {why}") from why


def _tell(on_read: OnRead, before: int, total: int, at: int) -> None:
    on_read(before + at, total)


def _pieces(file: IO[bytes], on_read: Callable[[int], None]) -> Iterator[NDArray[Any]]:
    with _readable():
        for rows in _arrays(file):
            on_read(file.tell())
            yield rows


def _arrays(file: IO[bytes]) -> Iterator[NDArray[Any]]:
    shape, fortran, dtype = _header(file)
    if dtype.hasobject or dtype.kind not in "fiub":
        raise ValueError(f"an array of {dtype} holds no numbers (or a pickle)")
    if not shape:
        yield _read(file, 1, (), dtype)
        return
    row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
    if fortran and len(shape) > 1:
        raise ValueError("an array in Fortran order; save it in C order")
    if not 0 < row_bytes <= MAX_ROW_BYTES:
        raise ValueError(f"an array with rows of {row_bytes} bytes")
    step = max(1, PIECE_BYTES // row_bytes)
    for start in range(0, shape[0], step):
        yield _read(file, min(step, shape[0] - start), shape[1:], dtype)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"array format {version} is not known")
    return _HEADERS[version](file)


def _read(
    file: IO[bytes], rows: int, row: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    wanted = rows * dtype.itemsize * int(np.prod(row, dtype=np.int64))
    data = file.read(wanted)
    if len(data) != wanted:
        raise ValueError("an array is cut short")
    return np.frombuffer(data, dtype).reshape(rows, *row)

"""Samples of a model with several inputs: an npz file with one array for each.

The first axes count samples, of each input as many. The arrays are read side by side
and in pieces, so the file may be larger than memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_agent.serve.files.npz_file import count_rows, read_array
from edge_agent.serve.files.progress import OnRead, ignore
from edge_agent.serve.joined import count_samples


def read_named(
    path: Path, names: Sequence[str], on_read: OnRead = ignore
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Yield the samples of a file in order, each by the names of the inputs.

    Raises:
        ValueError: It is no npz file with an array for each input.
        OSError: It cannot be read.
    """
    total = count_samples(count_rows(path), names)
    columns = [_rows(path, name) for name in names]
    for place, row in enumerate(zip(*columns, strict=True), 1):
        yield dict(zip(names, row, strict=True))
        on_read(place, total)


def _rows(path: Path, name: str) -> Iterator[NDArray[Any]]:
    for piece in read_array(path, name):
        yield from piece

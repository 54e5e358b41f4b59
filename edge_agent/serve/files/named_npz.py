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


def read_named(
    path: Path, names: Sequence[str], on_read: OnRead = ignore
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Yield the samples of a file in order, each by the names of the inputs.

    Raises:
        ValueError: It is no npz file with an array for each input.
        OSError: It cannot be read.
    """
    found = count_rows(path)
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"there is no array {missing[0]!r}; the model takes {', '.join(names)}"
        )
    counts = {name: found[name] for name in names}
    if len(set(counts.values())) > 1:
        raise ValueError(f"the arrays have different numbers of samples: {counts}")
    total = counts[names[0]]
    columns = [_rows(path, name) for name in names]
    for place, row in enumerate(zip(*columns, strict=True), 1):
        yield dict(zip(names, row, strict=True))
        on_read(place, total)


def _rows(path: Path, name: str) -> Iterator[NDArray[Any]]:
    for piece in read_array(path, name):
        yield from piece

"""Samples of a model with several inputs: an npz file with one array for each.

The first axes count samples, of each input as many.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.serve.files.npz_file import read_npz
from edge_agent.wire.manifest import InputContract

Sample = dict[str, NDArray[Any]]


def read_named(path: Path, contracts: Sequence[InputContract]) -> Iterator[Sample]:
    """Yield the samples of a file in order; it must fit into memory.

    Raises:
        ValueError: It is no npz file with an array for each input.
        OSError: It cannot be read.
    """
    names = [contract.tensor.name for contract in contracts]
    if path.suffix.lower() != ".npz":
        raise ValueError(f"the model takes {', '.join(names)}: give them in an .npz")
    arrays = {
        name: np.concatenate(list(pieces))
        for name, pieces in read_npz(path)
        if name in names
    }
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"there is no array {missing[0]!r}; the model takes {names}")
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"the arrays have different numbers of samples: {counts}")
    for place in range(counts[names[0]]):
        yield {name: array[place] for name, array in arrays.items()}

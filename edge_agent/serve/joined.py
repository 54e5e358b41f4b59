"""A model with several inputs, as a source sees it: one row of numbers a sample.

A row has the numbers of all inputs one after another, in C order, as samples for
``hub releases import`` have them. A file or message that names the inputs brings them
by name instead, and needs no row. There are no windows: every sample is whole. Pure;
sources and file readers call it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.wire.manifest import InputContract, TensorContract

Values = NDArray[Any] | Mapping[str, NDArray[Any]]
"""A sample of one input, or one array for each by name."""
_WIDE = frozenset({"int32", "int64", "uint32", "uint64", "float64"})
"""Numbers that float32 cannot hold."""


class Joined(InputContract, frozen=True, kw_only=True):
    """The row, as the contract of one input, and what it is made of."""

    inputs: tuple[InputContract, ...]

    @property
    def names(self) -> list[str]:
        """The inputs' names, in order."""
        return [one.tensor.name for one in self.inputs]


def join_inputs(inputs: Sequence[InputContract]) -> InputContract:
    """Return the contract of a row of all inputs; of a single one, its own.

    The columns are called ``NAME`` where an input is one number, else ``NAME.0`` and so
    on.
    """
    first, *further = inputs
    if not further:
        return first
    columns = [
        name if size == 1 else f"{name}.{place}"
        for name, size in ((one.tensor.name, _size(one)) for one in inputs)
        for place in range(size)
    ]
    tensor = TensorContract(
        name=" ".join(one.tensor.name for one in inputs), shape=[len(columns)]
    )
    return Joined(
        tensor=tensor, axes=columns, rate_hz=first.rate_hz, inputs=tuple(inputs)
    )


def split_row(sample: Values, contract: InputContract) -> Values:
    """Return a row of a joined contract by the inputs' names; anything else as it is.

    Numbers that are missing, or too many, are the last input's, so that the sample is
    rejected by the shape of that.
    """
    if not isinstance(contract, Joined) or isinstance(sample, Mapping):
        return sample
    ends = np.cumsum([_size(one) for one in contract.inputs])[:-1]
    parts = np.split(sample.ravel(), ends)
    return {
        one.tensor.name: part.reshape(one.tensor.shape)
        if part.size == _size(one)
        else part
        for one, part in zip(contract.inputs, parts, strict=True)
    }


def count_samples(rows: Mapping[str, int], names: Sequence[str]) -> int:
    """Return how many samples arrays by name hold, given how many rows each has.

    Raises:
        ValueError: An input has no array, or their lengths differ.
    """
    missing = [name for name in names if name not in rows]
    if missing:
        raise ValueError(
            f"there is no array {missing[0]!r}; the model takes {', '.join(names)}"
        )
    lengths = {name: rows[name] for name in names}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the arrays have different numbers of samples: {lengths}")
    return lengths[names[0]]


def number_type(contract: InputContract) -> np.dtype[Any]:
    """Return the floats in which numbers written as text are read without loss."""
    inputs = contract.inputs if isinstance(contract, Joined) else (contract,)
    wide = any(one.tensor.dtype in _WIDE for one in inputs)
    return np.dtype(np.float64 if wide else np.float32)


def _size(contract: InputContract) -> int:
    return math.prod(contract.tensor.shape)

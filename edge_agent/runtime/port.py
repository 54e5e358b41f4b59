"""The port: what the rest of Shoal knows of an interpreter.

A model takes one sample at a time and answers with its outputs by name, as float32,
whatever the file's own number format is. A model is not thread-safe: one owner.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """A tensor of a model: its name, the file's dtype, its shape without batch axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Model(Protocol):
    """A loaded model with one input, batch 1."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def predict(self, sample: Floats) -> dict[str, Floats]:
        """Run one sample.

        Args:
            sample: float32 of the input's shape, without batch axis.

        Returns:
            Outputs by name, float32, without batch axis; the caller owns them.

        Raises:
            ModelError: The interpreter failed (``AGENT-MODEL-003``), or the sample is
                not of the input's shape (``AGENT-MODEL-004``).
        """
        ...

    def close(self) -> None:
        """Free the interpreter; the model cannot be used afterwards."""
        ...

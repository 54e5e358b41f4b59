"""The port: what the rest of Shoal knows of an interpreter.

A model has inputs and outputs by name. :meth:`Model.predict` and
:meth:`Model.predict_named` take one sample, without batch axis, as floats where the
file is quantized, and answer so; :meth:`Model.run` takes and gives whole tensors in the
file's own number formats. A model is not thread-safe: one owner.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float32]

UNLOADABLE = "AGENT-MODEL-001"
UNSERVED = "AGENT-MODEL-002"
FAILED = "AGENT-MODEL-003"
UNFITTING = "AGENT-MODEL-004"

ANY = -1
"""A dimension that is free: it may differ from call to call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """A tensor of a model.

    ``dtype`` is NumPy's name of the file's number format, ``shape`` that of one sample,
    :data:`ANY` where a dimension is free. ``batch`` is the leading axis that ``shape``
    leaves out: 1, :data:`ANY`, or 0 where the tensor has none. With a ``scale``, the
    numbers stand for ``(number - zero_point) * scale``.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    batch: int = 1
    scale: float = 0.0
    zero_point: int = 0

    @property
    def full_shape(self) -> tuple[int, ...]:
        """The tensor's shape in the file, with its batch axis."""
        return (self.batch, *self.shape) if self.batch else self.shape

    @property
    def quantized(self) -> bool:
        """Whether the numbers are steps of a scale."""
        return self.scale > 0


class Model(Protocol):
    """A loaded model."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def predict(self, sample: Floats) -> dict[str, Array]:
        """Run one sample of a model with one input; the fast way.

        Args:
            sample: Of the input's shape, without batch axis, C order; float32 where
                the input is float32 or quantized, else of the input's dtype.

        Returns:
            Outputs by name, without batch axis; float32 where they are quantized, else
            of their own dtype. The caller owns them.

        Raises:
            ModelError: The interpreter failed (``AGENT-MODEL-003``), or the sample is
                not of the input's shape, or the model has several (``-004``).
        """
        ...

    def predict_named(self, samples: Mapping[str, Array]) -> dict[str, Array]:
        """Run one sample given by the names of the inputs.

        Args:
            samples: As for :meth:`predict`; other dtypes are converted where no value
                is lost.

        Raises:
            ModelError: As :meth:`predict`, and ``AGENT-MODEL-012`` where the model does
                not run with a free dimension of this size.
        """
        ...

    def run(
        self, inputs: Mapping[str, Array], *, dequantize: bool = False
    ) -> dict[str, Array]:
        """Run whole tensors, with their batch axes.

        Args:
            inputs: Every input by name, of the file's dtype; other dtypes are converted
                where no value is lost, and floats for a quantized input are quantized.
                A free batch is the same in all of them.
            dequantize: Whether quantized outputs come as float32.

        Returns:
            Outputs by name; the caller owns them.

        Raises:
            ModelError: As :meth:`predict_named`.
        """
        ...

    def close(self) -> None:
        """Free the interpreter; the model cannot be used afterwards."""
        ...

"""Whether a sample may be inferred at all: shape, dtype, limits, and not stuck.

A sample that fails is counted and never inferred, so that a broken sensor is seen as
a broken sensor and not as drift. Called by the engine before every inference.
"""

import numpy as np
from msgspec import UNSET
from numpy.typing import ArrayLike

from edge_agent.errors import SampleRejectedError
from edge_agent.pipeline.prediction import Sample
from edge_agent.runtime.port import Array
from edge_agent.sketch.flat import is_flat
from edge_agent.wire.manifest import InputContract

SHAPE, DTYPE, NOT_FINITE, RANGE = "shape", "dtype", "not_finite", "range"
STUCK = "stuck"
"""Reason of a window in which an axis says one value for too long."""
QUALITY = frozenset({NOT_FINITE, RANGE, STUCK})
"""Reasons that say something of the sensor, and not of how the sample was made."""
INPUTS = "inputs"
"""Reason of a sample that has not one array for each input."""
_NUMBERS = "fiub"
_WIDE = (np.float32, np.float64)
"""Floats whose squares have room."""
CLOSE = 1 - 1e-4
"""More than float32 can be wrong by in a sum of squares."""


class Validator:
    """Checks the samples of one input."""

    def __init__(self, contract: InputContract) -> None:
        """Work out what every check needs."""
        self._contract = contract
        self._shape = tuple(contract.tensor.shape)
        self._dtype = np.dtype(contract.tensor.dtype)
        self._floats = self._dtype.kind == "f"
        flat_rows = contract.flat_rows
        self._flat_rows = 0 if flat_rows is UNSET or not self._shape else flat_rows
        self._low, self._high = self._limits(contract)
        self._room = 0.0
        if self._dtype in _WIDE and self._low < 0 < self._high:
            self._room = CLOSE * min(-self._low, self._high) ** 2

    def check(self, sample: Sample) -> Array:
        """Return the sample in C order, of the contract's shape and dtype.

        Raises:
            SampleRejectedError: With the first reason that holds, in the order
                ``dtype`` (not a float for a float input, or not to be had without
                loss), ``shape``, ``not_finite``, ``range``, ``stuck``.
        """
        if sample.dtype != self._dtype or not sample.flags.c_contiguous:
            sample = self._converted(sample)
        if sample.shape != self._shape:
            raise SampleRejectedError(
                SHAPE,
                f"sample has shape {list(sample.shape)}, not {list(self._shape)}"
                f"{self._place()}",
            )
        self._check_values(sample)
        if self._flat_rows and is_flat(sample, self._flat_rows):
            raise SampleRejectedError(
                STUCK,
                f"a sensor is stuck: the same value in {self._flat_rows} rows in a row"
                f"{self._place()}",
            )
        return sample

    def _check_values(self, sample: Array) -> None:
        # The sum of squares carries NaN and infinities too. Where it is below the
        # square of the nearer limit, no value is beyond one: one pass instead of two.
        if self._room and np.vdot(sample, sample) <= self._room:
            return
        if self._dtype.kind != "b":
            # The ufuncs themselves: half of what the methods cost. Minimum and maximum
            # carry NaN and infinities, so two passes check all.
            low = np.minimum.reduce(sample, axis=None)
            high = np.maximum.reduce(sample, axis=None)
            if not (low >= self._low and high <= self._high):
                raise self._outside(float(low), float(high))

    def _limits(self, contract: InputContract) -> tuple[float, float]:
        """Return the limits as the input's floats have them, always finite.

        A sample at 0.6 is at the limit 0.6, which float32 rounds up: NumPy 1 would
        call it outside.
        """
        if not self._floats:
            return contract.low, contract.high
        widest = np.finfo(self._dtype)
        low, high = np.clip((contract.low, contract.high), widest.min, widest.max)
        return float(low.astype(self._dtype)), float(high.astype(self._dtype))

    def as_array(self, values: ArrayLike) -> Sample:
        """Return what is no array yet as one.

        Raises:
            SampleRejectedError: It is none (``dtype``).
        """
        if isinstance(values, np.ndarray):
            return values
        try:
            return np.asarray(values, self._dtype if self._floats else None)
        except (ValueError, TypeError) as error:
            raise SampleRejectedError(DTYPE, f"{error}{self._place()}") from error

    def _converted(self, sample: Sample) -> Array:
        kind = sample.dtype.kind
        if kind not in (("f",) if self._floats else _NUMBERS):
            raise self._bad_type(sample)
        with np.errstate(all="ignore"):
            converted = np.ascontiguousarray(sample, self._dtype)
        # Ascontiguous makes one axis of none.
        converted = converted.reshape(sample.shape)
        if not self._floats and not np.array_equal(converted, sample):
            raise self._bad_type(sample)
        return converted

    def _bad_type(self, sample: Sample) -> SampleRejectedError:
        return SampleRejectedError(
            DTYPE, f"sample is {sample.dtype}, not {self._dtype}{self._place()}"
        )

    def _outside(self, low: float, high: float) -> SampleRejectedError:
        if not np.isfinite((low, high)).all():
            return SampleRejectedError(
                NOT_FINITE, f"sample holds NaN or infinite values{self._place()}"
            )
        return SampleRejectedError(
            RANGE,
            f"values {low:g} to {high:g} leave {self._low:g} to {self._high:g}"
            f"{self._place()}",
        )

    def _place(self) -> str:
        return f" (input {self._contract.tensor.name!r})"


def validate(sample: Sample, contract: InputContract) -> Array:
    """Return one sample as :meth:`Validator.check` does."""
    return Validator(contract).check(sample)

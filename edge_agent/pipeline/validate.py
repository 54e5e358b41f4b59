"""Whether a sample may be inferred at all: shape, dtype, finite, within hard limits.

A sample that fails is counted and never inferred, so that a broken sensor is seen as
a broken sensor and not as drift. Called by the engine before every inference.
"""

import numpy as np

from edge_agent.errors import SampleRejectedError
from edge_agent.pipeline.prediction import Sample
from edge_agent.runtime.port import Floats
from edge_agent.wire.manifest import InputContract

SHAPE, DTYPE, NOT_FINITE, RANGE = "shape", "dtype", "not_finite", "range"


def validate(sample: Sample, contract: InputContract) -> Floats:
    """Return the sample as contiguous float32 of the contract's shape.

    Raises:
        SampleRejectedError: With the first reason that holds, in the order ``dtype``
            (neither float32 nor float64), ``shape``, ``not_finite``, ``range``.
    """
    if sample.dtype not in (np.float32, np.float64):
        raise SampleRejectedError(DTYPE, f"sample is {sample.dtype}, not float32")
    if list(sample.shape) != contract.tensor.shape:
        raise SampleRejectedError(
            SHAPE,
            f"sample has shape {list(sample.shape)}, not {contract.tensor.shape}",
        )
    with np.errstate(over="ignore"):
        floats: Floats = np.ascontiguousarray(sample, np.float32)
    low, high = float(floats.min()), float(floats.max())
    # Minimum and maximum carry NaN and infinities, so two passes check all.
    if not np.isfinite((low, high)).all():
        raise SampleRejectedError(NOT_FINITE, "sample holds NaN or infinite values")
    if low < contract.low or high > contract.high:
        raise SampleRejectedError(
            RANGE,
            f"values {low:g} to {high:g} leave {contract.low:g} to {contract.high:g}",
        )
    return floats

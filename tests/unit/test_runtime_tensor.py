"""Quantized tensors: floats go in and out by scale and zero point."""

import numpy as np
import pytest

from edge_agent.runtime.litert import _Tensor


def _tensor(dtype: type[np.generic], scale: float, zero_point: int) -> _Tensor:
    return _Tensor(
        name="t",
        index=0,
        dtype=dtype,
        shape=(1, 3),
        scale=scale,
        zero_point=zero_point,
    )


@pytest.mark.parametrize(
    ("dtype", "zero_point", "expected"),
    [(np.int8, -10, [-128, -10, 127]), (np.uint8, 128, [0, 128, 255])],
)
def test_values_beyond_the_range_are_clipped(
    dtype: type[np.generic], zero_point: int, expected: list[int]
) -> None:
    """A value that the integer type cannot hold becomes its nearest end."""
    tensor = _tensor(dtype, 0.5, zero_point)
    steps = tensor.from_floats(np.array([-1e6, 0.0, 1e6], np.float32))
    assert steps.dtype == dtype
    assert steps.tolist() == expected


def test_a_step_survives_the_round_trip() -> None:
    """A float that lies on a step comes back as itself."""
    tensor = _tensor(np.int8, 0.25, 3)
    values = np.array([-1.5, 0.0, 2.75], np.float32)
    np.testing.assert_array_equal(tensor.to_floats(tensor.from_floats(values)), values)


def test_floats_pass_unchanged() -> None:
    """A float tensor has no scale and is not touched."""
    tensor = _tensor(np.float32, 0.0, 0)
    values = np.array([1.1, -2.2, 3.3], np.float32)
    np.testing.assert_array_equal(tensor.to_floats(tensor.from_floats(values)), values)

"""Quantized tensors: floats go in and out by scale and zero point."""

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_agent.runtime.port import ANY, TensorSpec
from edge_agent.runtime.tensors import Tensor, check_shapes, spec_of


def _tensor(dtype: str, scale: float = 0.0, zero_point: int = 0) -> Tensor:
    return Tensor(
        0,
        TensorSpec(
            name="t", dtype=dtype, shape=(3,), scale=scale, zero_point=zero_point
        ),
    )


@pytest.mark.parametrize(
    ("dtype", "zero_point", "expected"),
    [("int8", -10, [-128, -10, 127]), ("uint8", 128, [0, 128, 255])],
)
def test_values_beyond_the_range_are_clipped(
    dtype: str, zero_point: int, expected: list[int]
) -> None:
    """A value that the integer type cannot hold becomes its nearest end."""
    tensor = _tensor(dtype, 0.5, zero_point)
    steps = tensor.quantize(np.array([-1e6, 0.0, 1e6], np.float32))
    assert steps.dtype == dtype
    assert steps.tolist() == expected


def test_a_step_survives_the_round_trip() -> None:
    """A float that lies on a step comes back as itself."""
    tensor = _tensor("int8", 0.25, 3)
    values = np.array([-1.5, 0.0, 2.75], np.float32)
    np.testing.assert_array_equal(tensor.dequantize(tensor.quantize(values)), values)


def test_halves_go_to_the_even_step() -> None:
    """Rounding is the interpreter's: to the nearest, halves to the even step."""
    tensor = _tensor("int8", 0.5)
    halves = np.array([0.25, 0.75, -0.25], np.float32)
    assert tensor.quantize(halves).tolist() == [0, 2, 0]


def test_the_files_own_numbers_pass_unchanged() -> None:
    """What is of the tensor's type already is not touched, quantized or not."""
    floats, steps = np.array([1.1, -2.2, 3.3], np.float32), np.arange(3, dtype=np.int8)
    assert _tensor("float32").take(floats).tolist() == floats.tolist()
    assert _tensor("float32").give(floats) is floats
    assert _tensor("int8", 0.5, 3).take(steps).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("dtype", "given"),
    [
        ("int32", np.array([1, 2, 3], np.int64)),
        ("int64", np.array([1.0, 2.0, 3.0])),
        ("bool", np.array([0, 1, 1])),
        ("float32", np.array([1, 2, 3])),
        ("float16", np.array([0.1, 0.2, 0.3], np.float32)),
    ],
)
def test_other_types_are_taken_where_nothing_is_lost(
    dtype: str, given: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
) -> None:
    """Numbers of another type are converted; between floats that is rounding."""
    taken = _tensor(dtype).take(given)
    assert taken.dtype == dtype
    np.testing.assert_allclose(taken.astype(float), given.astype(float), rtol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "given"),
    [
        ("int32", np.array([1, 2, 2**40])),
        ("int64", np.array([1.0, 2.5, 3.0])),
        ("uint8", np.array([-1, 0, 1])),
        ("bool", np.array([0, 1, 2])),
        ("int32", np.array(["1", "2", "3"])),
        ("float32", np.array([1j, 2, 3])),
        ("int64", np.array([np.nan, 1.0, 2.0])),
    ],
)
def test_other_types_are_refused_where_something_is_lost(
    dtype: str, given: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
) -> None:
    """A value is never changed in silence."""
    with pytest.raises(ModelError) as caught:
        _tensor(dtype).take(given)
    assert caught.value.code == "AGENT-MODEL-004"


def test_nan_has_no_step() -> None:
    """What is not finite cannot be quantized."""
    with pytest.raises(ModelError, match="NaN"):
        _tensor("int8", 0.5).take(np.array([0.0, np.nan, 1.0]))


@pytest.mark.parametrize(
    ("shape", "batch", "sample"),
    [
        ((1, 100, 6), 1, (100, 6)),
        ((-1, 4), ANY, (4,)),
        ((1,), 1, ()),
        ((), 0, ()),
        ((8, 3), 0, (8, 3)),
        ((-1, 0, 3), ANY, (ANY, 3)),
    ],
)
def test_the_batch_axis_is_told_from_the_samples_own(
    shape: tuple[int, ...], batch: int, sample: tuple[int, ...]
) -> None:
    """A leading axis of 1 or of any length is the batch; others belong to a sample."""
    none = np.empty(0)
    spec = spec_of("t", np.float32, shape, none, none)
    assert (spec.batch, spec.shape) == (batch, sample)


def test_free_dimensions_take_any_length() -> None:
    """A free dimension takes what comes, but not nothing; a fixed one does not."""
    spec = TensorSpec(name="t", dtype="float32", shape=(ANY, 3), batch=1)
    check_shapes([spec], [(1, 7, 3)])
    for shape in ((1, 0, 3), (2, 7, 3), (7, 3)):
        with pytest.raises(ModelError, match="shape"):
            check_shapes([spec], [shape])


def test_a_scale_for_each_channel_is_refused() -> None:
    """Inputs and outputs are quantized per tensor or not at all."""
    with pytest.raises(ModelError) as caught:
        spec_of("t", np.int8, (1, 2), np.array([0.1, 0.2]), np.array([0, 0]))
    assert caught.value.code == "AGENT-MODEL-002"

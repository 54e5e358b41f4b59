"""Which samples may be inferred."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.errors import SampleRejectedError
from edge_agent.pipeline.prediction import Sample
from edge_agent.pipeline.validate import validate
from edge_agent.runtime.telling import trial_sample
from edge_agent.wire.manifest import InputContract, NumberType, TensorContract

CONTRACT = InputContract(
    tensor=TensorContract(name="x", shape=[4, 2]), low=-1.0, high=1.0
)


def _with(value: float) -> NDArray[np.float32]:
    sample = np.zeros((4, 2), np.float32)
    sample[3, 1] = value
    return sample


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (_with(np.nan), "not_finite"),
        (_with(np.inf), "not_finite"),
        (_with(-np.inf), "not_finite"),
        (_with(1.0001), "range"),
        (_with(-1.0001), "range"),
        (np.zeros((3, 2), np.float32), "shape"),
        (np.zeros((4, 3), np.float32), "shape"),
        (np.zeros(8, np.float32), "shape"),
        (np.zeros((1, 4, 2), np.float32), "shape"),
        (np.zeros((0, 2), np.float32), "shape"),
        (np.zeros((4, 2), np.int16), "dtype"),
        (np.zeros((4, 2), np.complex64), "dtype"),
        (np.zeros((4, 2), "U1"), "dtype"),
        (np.full((4, 2), 1e300), "not_finite"),
    ],
)
def test_a_bad_sample_is_rejected_with_its_reason(sample: Sample, reason: str) -> None:
    """Each kind of bad sample has its own reason."""
    with pytest.raises(SampleRejectedError) as caught:
        validate(sample, CONTRACT)
    assert caught.value.reason == reason
    assert caught.value.code == "AGENT-SAMPLE-001"


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_the_limits_themselves_are_good(value: float) -> None:
    """Values at the limits pass unchanged."""
    np.testing.assert_array_equal(validate(_with(value), CONTRACT), _with(value))


def test_double_precision_becomes_contiguous_single() -> None:
    """float64 in any memory order is taken, as contiguous float32."""
    sample = np.asfortranarray(np.linspace(-1, 1, 8).reshape(4, 2))
    taken = validate(sample, CONTRACT)
    assert taken.dtype == np.float32
    assert taken.flags.c_contiguous


def test_a_limit_is_what_the_inputs_numbers_make_of_it() -> None:
    """float32 has no 0.6: the number nearest to it is at the limit, not beyond."""
    tensor = TensorContract(name="x", shape=[2])
    contract = InputContract(tensor=tensor, low=0.6, high=0.6)
    sample = np.full(2, 0.6, np.float32)

    assert validate(sample, contract) is sample


def test_limits_beyond_a_narrow_float_still_refuse_infinity() -> None:
    """float16 ends at 65,504; what is beyond is infinite, and refused."""
    tensor = TensorContract(name="x", shape=[2], dtype="float16")
    sample = np.array([1.0, np.inf], np.float16)
    with pytest.raises(SampleRejectedError) as caught:
        validate(sample, InputContract(tensor=tensor))

    assert caught.value.reason == "not_finite"


def _noise(rows: int = 12) -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(-1, 1, (rows, 2)).astype(np.float32)


@pytest.mark.parametrize("low", [-1.0, -9.0, 0.0])
@pytest.mark.parametrize(("first", "length"), [(0, 4), (3, 4), (8, 4), (2, 9)])
def test_an_axis_that_repeats_its_value_is_a_stuck_sensor(
    first: int, length: int, low: float
) -> None:
    """Four rows of one value in one axis are too many, wherever they are; three not."""
    tensor = TensorContract(name="x", shape=[12, 2])
    contract = InputContract(tensor=tensor, low=low, high=1.0, flat_rows=4)
    sample = np.abs(_noise())
    sample[first : first + length, 1] = sample[first, 1]
    with pytest.raises(SampleRejectedError, match="stuck") as caught:
        validate(sample, contract)
    assert caught.value.reason == "stuck"
    sample[first + 3 :: 4, 1] += np.float32(1e-6)
    assert validate(sample, contract) is sample
    assert validate(np.abs(_noise()), contract).shape == (12, 2)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "bool"])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (2.0, 5.0), (-3.0, 0.0)])
def test_the_watchdogs_sample_is_not_taken_for_a_stuck_sensor(
    dtype: NumberType, low: float, high: float
) -> None:
    """Else every worker with such a release would be taken for one that hangs."""
    if dtype in {"uint8", "bool"}:
        low, high = 0.0, 1.0
    tensor = TensorContract(name="x", shape=[12, 2], dtype=dtype)
    contract = InputContract(tensor=tensor, low=low, high=high, flat_rows=2)
    sample = trial_sample([contract])["x"]
    assert validate(sample, contract) is sample


@pytest.mark.parametrize(("low", "high"), [(-10.0, 1.0), (-1.0, 10.0)])
def test_the_nearer_limit_holds_too(low: float, high: float) -> None:
    """What is within the one limit's distance may be beyond the other."""
    contract = InputContract(tensor=CONTRACT.tensor, low=low, high=high)
    for value, good in ((-5.0, low < -5.0), (5.0, high > 5.0)):
        if good:
            assert validate(_with(value), contract)[3, 1] == value
            continue
        with pytest.raises(SampleRejectedError) as caught:
            validate(_with(value), contract)
        assert caught.value.reason == "range"

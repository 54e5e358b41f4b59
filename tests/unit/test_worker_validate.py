"""Which samples may be inferred."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.errors import SampleRejectedError
from edge_agent.pipeline.prediction import Sample
from edge_agent.pipeline.validate import validate
from edge_agent.wire.manifest import InputContract, TensorContract

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

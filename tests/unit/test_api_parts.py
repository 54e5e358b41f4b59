"""Samples of several inputs go over the local API as they are."""

import numpy as np
import pytest

from edge_agent.errors import WorkerError
from edge_agent.serve import protocol as p
from edge_agent.serve.parts import check_data, infer_message, sample_of
from edge_agent.wire.manifest import TensorContract


def test_named_inputs_keep_types_and_shapes() -> None:
    """Whatever the order of bytes was, and where no axis is."""
    sample = {
        "flow": np.arange(6, dtype=np.float64).reshape(2, 3).T,
        "on": np.array([True, False]),
        "ticks": np.array(2**40),
        "big": np.array([1, 2], ">i2"),
    }
    request, data = infer_message("s", sample)
    frame = p.encode_frame(request, data)
    decoded, body = p.decode_frame(frame[4:], p.request_decoder)
    check_data(decoded, body)
    assert isinstance(decoded, p.Infer)
    taken = sample_of(decoded, body)
    assert isinstance(taken, dict)
    assert taken.keys() == sample.keys()
    for name, array in taken.items():
        assert array.shape == sample[name].shape
        assert array.dtype.name == sample[name].dtype.name
        np.testing.assert_array_equal(array, sample[name])


def test_a_single_array_is_float32() -> None:
    """The usual case has no names."""
    request, data = infer_message("s", np.ones((2, 3)))
    assert (request.inputs, request.shape, len(data)) == ([], [2, 3], 24)
    assert isinstance(sample_of(request, data), np.ndarray)


def test_data_of_another_length_is_refused() -> None:
    """The header announces what comes, of every input."""
    request, data = infer_message("s", {"a": np.ones(3), "b": np.ones(2, bool)})
    for wrong in (data[:-1], data + b"x", b""):
        with pytest.raises(WorkerError):
            check_data(request, wrong)


def test_every_number_format_of_the_contract_has_a_width() -> None:
    """Local API and contract know the same ones."""
    for name, width in p.WIDTHS.items():
        assert np.dtype(name).itemsize == width
        assert TensorContract(name="x", dtype=name, shape=[]).dtype == name
    assert len(p.WIDTHS) == 12

"""Tensor data of the Open Inference Protocol, as JSON and as bytes."""

import json

import numpy as np
import pytest

from edge_agent.serve.oip import datatypes as d
from edge_agent.serve.oip.refusal import RefusedError


@pytest.mark.parametrize("datatype", d.DTYPES)
def test_every_datatype_comes_back_from_bytes_and_from_json(datatype: str) -> None:
    """What is sent is what is read, flat, nested and binary."""
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(d.DTYPES[datatype])
    nested = json.dumps(array.tolist()).encode()
    flat = json.dumps(d.to_json(array, "x")).encode()

    for found in (
        d.from_json(nested, "x", datatype, (2, 3)),
        d.from_json(flat, "x", datatype, (2, 3)),
        d.from_binary(d.to_binary(array), "x", datatype, (2, 3)),
    ):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    assert d.datatype_of(array.dtype) == datatype


@pytest.mark.parametrize("datatype", [n for n in d.DTYPES if "INT" in n])
def test_the_ends_of_an_integer_type_fit_and_what_is_beyond_does_not(
    datatype: str,
) -> None:
    """No number wraps around."""
    limits = np.iinfo(d.DTYPES[datatype])
    for value in (int(limits.min), int(limits.max)):
        found = d.from_json(f"[{value}]".encode(), "x", datatype, (1,))
        assert int(found[0]) == value
    for value in (int(limits.min) - 1, int(limits.max) + 1):
        with pytest.raises(RefusedError) as caught:
            d.from_json(f"[{value}]".encode(), "x", datatype, (1,))
        assert caught.value.code == "AGENT-OIP-002"


@pytest.mark.parametrize(
    ("data", "datatype", "shape"),
    [
        (b"[1, 2]", "FP32", (3,)),
        (b"[1, 2, 3, 4]", "FP32", (3,)),
        (b"[[1, 2], [3]]", "FP32", (2, 2)),
        (b"[[1, 2, 3], [4]]", "FP32", (2, 2)),
        (b"[[1], [2, 3, 4]]", "FP32", (2, 2)),
        (b"[[1], [2]]", "FP32", (2,)),
        (b"[[[1], [2]]]", "FP32", (2, 1)),
        (b"[1, null]", "FP32", (2,)),
        (b"[1, NaN]", "FP32", (2,)),
        (b'["1,2"]', "FP32", (2,)),
        (b"[1e999]", "FP64", (1,)),
        (b"[1.5]", "INT32", (1,)),
        (b"[1]", "BOOL", (1,)),
        (b"[true]", "FP32", (1,)),
        (b"{}", "FP32", (1,)),
        (b"", "FP32", (1,)),
        (b"[" * 5000, "FP32", (1,)),
        (b"[1]]", "FP32", (1,)),
    ],
)
def test_json_that_is_no_such_tensor_is_refused(
    data: bytes, datatype: str, shape: tuple[int, ...]
) -> None:
    """Wrong counts, forms, kinds and ragged lists have one code and one text."""
    with pytest.raises(RefusedError) as caught:
        d.from_json(data, "x", datatype, shape)
    assert caught.value.code == "AGENT-OIP-002"
    assert "'x'" in caught.value.text


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_flat_list_has_as_many_numbers_as_its_shape_says(count: int) -> None:
    """Of the way that most requests take, too."""
    with pytest.raises(RefusedError) as caught:
        d.from_floats([0.0] * count, "x", "FP32", (3, 1))
    assert caught.value.code == "AGENT-OIP-002"
    assert d.from_floats([0.0] * 3, "x", "FP32", (3, 1)).shape == (3, 1)


def test_a_scalar_is_one_number_bare_or_in_a_list() -> None:
    """A shape without dimensions has one element."""
    assert d.from_json(b"5", "x", "INT8", ()) == 5
    assert d.from_json(b"[5]", "x", "INT8", ()) == 5


def test_numbers_beyond_their_float_type_become_infinite() -> None:
    """The sample's own checks refuse them, and count that."""
    assert np.isinf(d.from_json(b"[1e300]", "x", "FP32", (1,))).all()


def test_json_of_too_many_elements_is_refused_before_it_is_read() -> None:
    """The cure is binary data."""
    with pytest.raises(RefusedError) as caught:
        d.from_json(b"[]", "x", "FP32", (d.MAX_JSON_ELEMENTS + 1,))
    assert "binary" in caught.value.cure


@pytest.mark.parametrize("datatype", ["BYTES", "BF16", "fp32", ""])
def test_other_datatypes_are_refused_clearly(datatype: str) -> None:
    """The text says which, the cure what is possible."""
    for read in (d.from_json, d.from_binary):
        with pytest.raises(RefusedError) as caught:
            read(b"[1]", "x", datatype, (1,))
        assert caught.value.code == "AGENT-OIP-003"
        assert "FP32" in caught.value.cure


def test_bytes_must_be_exactly_the_tensors() -> None:
    """One byte more or less is refused."""
    for length in (7, 9):
        with pytest.raises(RefusedError):
            d.from_binary(bytes(length), "x", "FP32", (2,))


def test_truth_values_of_bytes_are_true_or_false() -> None:
    """Any byte but 0 is true, and no array holds a third value."""
    found = d.from_binary(b"\x00\x01\x02", "x", "BOOL", (3,))
    assert found.tolist() == [False, True, True]


def test_bytes_at_an_odd_address_are_read() -> None:
    """Behind JSON of any length the numbers are as good."""
    whole = memoryview(b"x" + np.array([1, 2], np.float32).tobytes())
    found = d.from_binary(whole[1:], "x", "FP32", (2,))
    assert found.flags.aligned
    assert found.tolist() == [1, 2]


def test_json_has_no_word_for_nan() -> None:
    """An output that holds one is refused rather than made null."""
    with pytest.raises(RefusedError) as caught:
        d.to_json(np.array([1, np.nan], np.float32), "scores")
    assert caught.value.code == "AGENT-OIP-007"
    assert caught.value.retryable


def test_a_dtype_without_a_name_is_announced_as_texts() -> None:
    """Such an output is known and cannot be sent."""
    assert d.datatype_of("complex64") == "BYTES"


@pytest.mark.parametrize("datatype", sorted(d.FLOATS))
def test_a_list_of_floats_becomes_what_numpy_makes_of_it(datatype: str) -> None:
    """Bit for bit, beyond a type's ends and past the length of a piece too."""
    ends = [0.0, -0.0, 1e-310, 1e-40, 65520.0, 3.4028235677973366e38, -1e300, 1 / 3]
    values = [*ends, *np.random.default_rng(4).normal(size=9000).tolist()]

    found = d.from_floats(values, "x", datatype, (2, len(values) // 2))

    with np.errstate(over="ignore"):
        wanted = np.array(values, d.DTYPES[datatype]).reshape(2, -1)
    assert found.dtype == wanted.dtype
    assert found.tobytes() == wanted.tobytes()
    assert d.from_floats([1.5], "x", datatype, ()).shape == ()
    assert d.from_floats([], "x", datatype, (0,)).shape == (0,)

"""Whatever bytes come as a request or a head, the answer is one or a refusal."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_agent.serve.oip import datatypes as d
from edge_agent.serve.oip.http1 import Head, parse_head
from edge_agent.serve.oip.refusal import RefusedError
from edge_agent.serve.oip.request import InferRequest, read_request
from edge_agent.serve.oip.response import Answer, encode_answer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner)
    ),
    max_leaves=12,
)
NUMBER = st.integers(-2, 2**65) | st.floats() | st.booleans()
DATA = st.recursive(NUMBER, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
PARAMETERS = st.dictionaries(
    st.sampled_from(
        ["binary_data_size", "binary_data", "binary_data_output", "classification"]
    ),
    JSON | st.integers(0, 64),
    max_size=2,
)
TENSOR = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "y", ""]) | JSON},
    optional={
        "datatype": st.sampled_from([*d.DTYPES, "BYTES"]) | JSON,
        "shape": st.lists(st.integers(-1, 4), max_size=4) | JSON,
        "data": DATA | JSON,
        "parameters": PARAMETERS | JSON,
    },
)
REQUEST = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=3) | JSON},
    optional={
        "id": st.text(max_size=5) | JSON,
        "outputs": st.lists(TENSOR, max_size=3) | JSON,
        "parameters": PARAMETERS | JSON,
    },
)
LENGTHS = st.none() | st.integers(0, 300)


def _read(body: bytes, length: int | None) -> InferRequest | int:
    """Read a request with all its tensors, or return the status it is refused with."""
    try:
        request = read_request(body, length)
        for tensor in request.inputs:
            assert tensor.array().shape == tensor.shape
    except RefusedError as error:
        return error.status
    return request


@given(st.binary(max_size=400), LENGTHS)
def test_any_bytes_are_a_request_or_a_refusal(body: bytes, length: int | None) -> None:
    """Nothing but the protocol's own error comes out."""
    assert _read(body, length) == 400


@given(REQUEST, st.binary(max_size=64), st.booleans())
def test_anything_like_a_request_is_one_or_a_refusal(
    document: object,
    tail: bytes,
    split: bool,  # noqa: FBT001
) -> None:
    """Fields of wrong types, sizes and bounds are found, each before its use."""
    header = json.dumps(document).encode()
    found = _read(header + tail, len(header) if split else None)
    assert isinstance(found, InferRequest) or found == 400


@given(
    hnp.arrays(
        st.sampled_from(list(d.DTYPES.values())),
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    st.booleans(),
)
def test_a_tensor_survives_the_way_there_and_back(
    array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]",
    binary: bool,  # noqa: FBT001
) -> None:
    """What a reply says is, read as a request's input, the same tensor."""
    answer = Answer(model="m", version="1", outputs={"x": array}, parameters={})
    body, length = encode_answer(
        InferRequest(id="", inputs=(), binary_output=binary), answer
    )
    said = json.loads(body[:length])
    header = json.dumps({"inputs": said["outputs"]}).encode()
    tail = b"" if length is None else body[length:]

    request = _read(header + tail, len(header))
    assert isinstance(request, InferRequest)
    found = request.inputs[0].array()
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


FIELD = st.sampled_from(
    [
        b"Host: a",
        b"Content-Length: 5",
        b"Content-Length: 7",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b" folded",
        b"X: \xff",
        b"X : y",
    ]
)


def _parse(data: bytes) -> Head | int:
    try:
        return parse_head(data)
    except RefusedError as error:
        return error.status


@given(
    st.binary(max_size=200)
    | st.lists(FIELD | st.binary(max_size=12), max_size=6).map(
        lambda fields: b"\r\n".join([b"POST / HTTP/1.1", *fields])
    )
)
def test_any_bytes_are_a_head_or_a_refusal(data: bytes) -> None:
    """A head that is taken has one length of body and no transfer coding."""
    head = _parse(data)
    if not isinstance(head, Head):
        assert head in {400, 411, 417, 431, 505}
        return
    assert "transfer-encoding" not in head.fields
    assert head.body_bytes == int(head.fields.get("content-length", 0))

"""Whatever bytes come as a gRPC request, they are one or a refusal."""

from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.serve.oip.datatypes import DTYPES
from edge_agent.serve.oip.refusal import RefusedError
from edge_agent.serve.oip.request import InferRequest
from edge_agent.serve.oip_grpc.convert import read_message
from edge_agent.serve.oip_grpc.messages import MESSAGES

CONTENTS: dict[str, st.SearchStrategy[Any]] = {
    "bool_contents": st.booleans(),
    "int_contents": st.integers(-(2**31), 2**31 - 1),
    "int64_contents": st.integers(-(2**63), 2**63 - 1),
    "uint_contents": st.integers(0, 2**32 - 1),
    "uint64_contents": st.integers(0, 2**64 - 1),
    "fp32_contents": st.floats(width=32),
    "fp64_contents": st.floats(),
    "bytes_contents": st.binary(max_size=3),
}


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    """A message of the protocol with fields that fit each other more or less."""
    message = MESSAGES["ModelInferRequest"](
        model_name="m", id=draw(st.text(max_size=3))
    )
    for _ in range(draw(st.integers(0, 2))):
        tensor = message.inputs.add(
            name=draw(st.sampled_from(["x", "y", "", "x" * 129])),
            datatype=draw(st.sampled_from([*DTYPES, "BYTES", ""])),
            shape=draw(st.lists(st.integers(-1, 3), max_size=3)),
        )
        if (field := draw(st.sampled_from(["", *CONTENTS]))) != "":
            values = draw(st.lists(CONTENTS[field], max_size=4))
            getattr(tensor.contents, field).extend(values)
    for _ in range(draw(st.integers(0, 1))):
        output = message.outputs.add(name=draw(st.sampled_from(["o", ""])))
        place = output.parameters["classification"]
        if draw(st.booleans()):
            place.int64_param = draw(st.integers(-5, 5))
        else:
            place.string_param = "2"
    message.raw_input_contents.extend(draw(st.lists(st.binary(max_size=8), max_size=2)))
    data: bytes = message.SerializeToString()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=3)) + data[at + 1 :]
    return data


@given(_requests() | st.binary(max_size=60))
def test_any_bytes_are_a_request_or_a_refusal(data: bytes) -> None:
    """Nothing but protobuf's own error and the protocol's comes out."""
    try:
        request = read_message(MESSAGES["ModelInferRequest"].FromString(data))
        for tensor in request.inputs:
            assert tensor.array().shape == tensor.shape
    except (DecodeError, RefusedError):
        return
    assert isinstance(request, InferRequest)
    assert 1 <= len(request.inputs) <= 64


@given(st.sampled_from([*DTYPES]), st.data())
def test_typed_values_come_as_they_are_or_are_refused(
    datatype: str, data: st.DataObject
) -> None:
    """No number wraps around on its way into a smaller type."""
    field = {"b": "bool", "f": "fp32", "u": "uint", "i": "int"}[DTYPES[datatype].kind]
    field = {"FP64": "fp64", "INT64": "int64", "UINT64": "uint64"}.get(datatype, field)
    values = data.draw(st.lists(CONTENTS[f"{field}_contents"], min_size=2, max_size=2))
    message = MESSAGES["ModelInferRequest"](model_name="m")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=[2])
    getattr(tensor.contents, f"{field}_contents").extend(values)
    found, refused = None, ""
    try:
        found = read_message(message).inputs[0].array()
    except RefusedError as error:
        refused = error.text
    if found is None:
        assert datatype in refused
    else:
        assert [repr(one) for one in found.tolist()] == [repr(one) for one in values]


def test_the_largest_numbers_stay_exact_beside_small_ones() -> None:
    """What NumPy would take for floats by itself: 64 bits without a sign."""
    values = [0, 2**63 + 1, 2**64 - 1]
    message = MESSAGES["ModelInferRequest"](model_name="m")
    tensor = message.inputs.add(name="x", datatype="UINT64", shape=[3])
    tensor.contents.uint64_contents.extend(values)
    assert read_message(message).inputs[0].array().tolist() == values

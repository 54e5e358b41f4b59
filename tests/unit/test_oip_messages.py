"""Requests and replies of the Open Inference Protocol as bytes."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from edge_agent.serve.oip.refusal import RefusedError
from edge_agent.serve.oip.request import InferRequest, read_request
from edge_agent.serve.oip.response import Answer, encode_answer

TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
ANSWER = Answer(
    model="tiny",
    version="3",
    outputs={
        "probabilities": np.array([[0.25, 0.5, 0.25]], np.float32),
        "energy": np.array([[7.0]], np.float32),
    },
    labels=("rest", "walk"),
    parameters={"served_by": "active", "release": 3},
)


def _body(**fields: object) -> bytes:
    return json.dumps({"inputs": [TENSOR | {"data": [1, 2]}], **fields}).encode()


def test_a_json_request_is_read() -> None:
    """Id, inputs, outputs and their parameters arrive."""
    request = read_request(
        _body(
            id="s1",
            outputs=[
                {"name": "a", "parameters": {"binary_data": True}},
                {"name": "b", "parameters": {"classification": 2}},
            ],
            parameters={"priority": 3, "something": "else"},
        ),
        None,
    )

    assert request.id == "s1"
    assert request.inputs[0].array().tolist() == [[1, 2]]
    assert [(o.name, o.binary, o.classes) for o in request.outputs] == [
        ("a", True, 0),
        ("b", False, 2),
    ]


def test_binary_tensors_follow_the_json_in_their_order() -> None:
    """Inputs with data and inputs with bytes may be mixed."""
    header = json.dumps(
        {
            "inputs": [
                TENSOR | {"parameters": {"binary_data_size": 8}},
                {"name": "y", "datatype": "INT8", "shape": [1], "data": [4]},
                {"name": "z", "datatype": "BOOL", "shape": [2]}
                | {"parameters": {"binary_data_size": 2}},
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    request = read_request(header + struct.pack("<2f2?", 5, 6, 1, 0), len(header))

    assert [tensor.array().tolist() for tensor in request.inputs] == [
        [[5, 6]],
        [4],
        [True, False],
    ]
    assert request.binary_output


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [TENSOR],
        [TENSOR | {"data": [1, 2]}] * 2,
        [TENSOR | {"parameters": {"binary_data_size": 9}}],
        [TENSOR | {"parameters": {"binary_data_size": 7}}],
        [TENSOR | {"parameters": {"binary_data_size": -1}}],
        [TENSOR | {"parameters": {"binary_data_size": True}}],
        [TENSOR | {"parameters": {"binary_data_size": 8}, "data": [1, 2]}],
        [TENSOR | {"shape": [0, 2]}],
        [TENSOR | {"shape": [-1, 2]}],
        [TENSOR | {"shape": [1] * 9}],
        [TENSOR | {"shape": [1 << 20, 1 << 20], "data": []}],
        [TENSOR | {"shape": 5}],
        [TENSOR | {"parameters": {"a": [1]}}],
        [TENSOR | {"name": ""}],
        [TENSOR | {"name": "x" * 129}],
    ],
)
def test_what_is_announced_wrongly_is_refused(inputs: list[dict[str, Any]]) -> None:
    """Sizes, shapes, names and parameters are checked before any data is read."""
    header = json.dumps({"inputs": inputs}).encode()
    with pytest.raises(RefusedError) as caught:
        read_request(header + bytes(8), len(header))
    assert caught.value.code == "AGENT-OIP-001"
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "x" * 129},
        {"outputs": [{"name": "a", "parameters": {"binary_data": 1}}]},
        {"outputs": [{"name": "a", "parameters": {"classification": -1}}]},
        {"outputs": [{"name": "a", "parameters": {"classification": True}}]},
        {"outputs": [{"name": "a", "parameters": {"classification": 1e9}}]},
        {"parameters": {"binary_data_output": "yes"}},
        {"parameters": {f"p{n}": n for n in range(33)}},
    ],
)
def test_fields_out_of_bounds_are_refused(fields: dict[str, Any]) -> None:
    """Every field of a request has its bound."""
    with pytest.raises(RefusedError) as caught:
        read_request(_body(**fields), None)
    assert caught.value.code == "AGENT-OIP-001"


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b'{"id":"\xff"}', b'{"x":' + b"[" * 100_000]
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """Neither broken text nor lists without end raise anything else."""
    with pytest.raises(RefusedError) as caught:
        read_request(body, None)
    assert caught.value.code == "AGENT-OIP-001"


@pytest.mark.parametrize("length", [0, 5, 10_000])
def test_a_wrong_length_of_the_json_is_refused(length: int) -> None:
    """The header length must be that of the JSON part."""
    with pytest.raises(RefusedError) as caught:
        read_request(_body(), length)
    assert caught.value.code == "AGENT-OIP-001"


def test_a_reply_holds_all_outputs_unless_some_are_asked_for() -> None:
    """As JSON by default; model, version and parameters are told."""
    body, length = encode_answer(InferRequest(id="s", inputs=()), ANSWER)

    assert length is None
    assert json.loads(body) == {
        "model_name": "tiny",
        "model_version": "3",
        "id": "s",
        "parameters": {"served_by": "active", "release": 3},
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [1, 3]}
            | {"data": [0.25, 0.5, 0.25]},
            {"name": "energy", "datatype": "FP32", "shape": [1, 1], "data": [7.0]},
        ],
    }


def test_a_binary_reply_is_json_then_bytes() -> None:
    """``binary_data_size`` says how many belong to each output."""
    body, length = encode_answer(
        InferRequest(id="", inputs=(), binary_output=True), ANSWER
    )

    assert length is not None
    header = json.loads(body[:length])
    assert "id" not in header
    sizes = [one["parameters"]["binary_data_size"] for one in header["outputs"]]
    assert sizes == [12, 4]
    assert body[length:] == struct.pack("<4f", 0.25, 0.5, 0.25, 7.0)


def test_classification_names_the_best_classes() -> None:
    """As texts ``value:index:label``, in JSON and in bytes with their lengths."""
    texts = ["0.500000:1:walk", "0.250000:0:rest"]
    for binary in (False, True):
        wanted = read_request(
            _body(
                outputs=[
                    {
                        "name": "probabilities",
                        "parameters": {"classification": 2, "binary_data": binary},
                    }
                ]
            ),
            None,
        )
        body, length = encode_answer(wanted, ANSWER)
        (output,) = json.loads(body[:length])["outputs"]
        assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
        if not binary:
            assert output["data"] == texts
        else:
            packed = (struct.pack("<I", len(t)) + t.encode() for t in texts)
            assert body[length:] == b"".join(packed)


def test_an_output_that_is_not_there_is_refused() -> None:
    """The cure names those that are."""
    wanted = read_request(_body(outputs=[{"name": "nothing"}]), None)
    with pytest.raises(RefusedError) as caught:
        encode_answer(wanted, ANSWER)
    assert caught.value.code == "AGENT-OIP-006"
    assert "probabilities" in caught.value.cure


def test_a_rules_answer_has_no_tensors() -> None:
    """Its label is in the parameters, whatever outputs are asked for."""
    wanted = read_request(_body(outputs=[{"name": "probabilities"}]), None)
    rule = Answer(
        model="tiny",
        version="0",
        outputs={},
        parameters={"served_by": "rule", "label": "rest"},
    )
    body, length = encode_answer(wanted, rule)
    assert length is None
    assert json.loads(body)["outputs"] == []
    assert json.loads(body)["parameters"]["label"] == "rest"

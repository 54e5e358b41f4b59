"""The protocol's gRPC messages to requests and from answers.

Tensors come as bytes (``raw_input_contents``, one for each input, in order) or in the
typed field that fits their datatype; they go as bytes. Bounds are those of HTTP.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edge_agent.serve.oip.datatypes import MAX_RANK, dtype_of, to_binary
from edge_agent.serve.oip.messages import (
    MAX_NAME,
    MAX_PARAMETERS,
    MAX_TENSORS,
    ModelMetadata,
    TensorMetadata,
)
from edge_agent.serve.oip.request import (
    CLASSIFICATION,
    InferRequest,
    SentTensor,
    WantedOutput,
    bad_request,
    check_names,
    check_size,
    class_count,
)
from edge_agent.serve.oip.response import Answer, pick_outputs
from edge_agent.serve.oip_grpc.messages import MESSAGES, ONEOF

_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
"""The typed field of each datatype; FP16 has none, it comes as bytes."""
_WIDEST = {"i": np.int64, "u": np.uint64}
"""What holds any number of the fields of a kind."""


def read_message(message: Any) -> InferRequest:  # noqa: ANN401 - protobuf's
    """Return the request that a ``ModelInferRequest`` is.

    Raises:
        RefusedError: A field is out of its bounds, or tensors lack data.
    """
    inputs, raw = message.inputs, message.raw_input_contents
    if not 0 < len(inputs) <= MAX_TENSORS or len(message.outputs) > MAX_TENSORS:
        raise bad_request(f"1 to {MAX_TENSORS} inputs and as many outputs are possible")
    if raw and len(raw) != len(inputs):
        raise bad_request(f"{len(raw)} raw_input_contents for {len(inputs)} inputs")
    if len(message.id) > MAX_NAME:
        raise bad_request(f"an id has at most {MAX_NAME} characters")
    check_names([tensor.name for tensor in inputs])
    return InferRequest(
        id=message.id,
        inputs=tuple(
            _tensor(tensor, raw[place] if raw else None)
            for place, tensor in enumerate(inputs)
        ),
        outputs=tuple(_wanted(output) for output in message.outputs),
        binary_output=True,
    )


def answer_message(request: InferRequest, answer: Answer) -> Any:  # noqa: ANN401
    """Return the ``ModelInferResponse`` of an answer.

    Raises:
        RefusedError: An output is not there.
    """
    reply = MESSAGES["ModelInferResponse"](
        model_name=answer.model, model_version=answer.version, id=request.id
    )
    for name, value in answer.parameters.items():
        _put_parameter(reply.parameters[name], value)
    for one in pick_outputs(request, answer):
        reply.outputs.add(name=one.name, datatype=one.datatype, shape=one.array.shape)
        reply.raw_output_contents.append(to_binary(one.array))
    return reply


def metadata_message(model: ModelMetadata) -> Any:  # noqa: ANN401
    """Return the ``ModelMetadataResponse`` of a model."""
    return MESSAGES["ModelMetadataResponse"](
        name=model.name,
        versions=model.versions,
        platform=model.platform,
        inputs=_tensors(model.inputs),
        outputs=_tensors(model.outputs),
    )


def _tensors(tensors: Iterable[TensorMetadata]) -> list[Any]:
    kind = MESSAGES["TensorMetadata"]
    return [
        kind(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        for tensor in tensors
    ]


def _tensor(tensor: Any, raw: bytes | None) -> SentTensor:  # noqa: ANN401
    name, shape = tensor.name, tuple(tensor.shape)
    if not 0 < len(name) <= MAX_NAME:
        raise bad_request(f"the name of an input has 1 to {MAX_NAME} characters")
    if len(shape) > MAX_RANK or any(length < 1 for length in shape):
        raise bad_request(f"input {name!r}: {list(shape)[:16]} is no shape")
    check_size(name, shape)
    return SentTensor(
        name=name,
        datatype=tensor.datatype,
        shape=shape,
        data=_typed(tensor) if raw is None else raw,
        binary=True,
    )


def _typed(tensor: Any) -> bytes:  # noqa: ANN401
    """Return the bytes of a tensor that came in the field of its datatype."""
    dtype = dtype_of(tensor.datatype, tensor.name)
    field = _FIELDS.get(tensor.datatype)
    if field is None:
        raise bad_request(
            f"input {tensor.name!r}: {tensor.datatype} goes into raw_input_contents"
        )
    # NumPy would take uint64 among small numbers for floats, which cannot hold it.
    values = np.array(getattr(tensor.contents, field), _WIDEST.get(dtype.kind))
    if dtype.kind in "iu" and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise bad_request(f"input {tensor.name!r}: a value is no {tensor.datatype}")
    return values.astype(dtype).tobytes()


def _wanted(output: Any) -> WantedOutput:  # noqa: ANN401
    if not 0 < len(output.name) <= MAX_NAME:
        raise bad_request(f"the name of an output has 1 to {MAX_NAME} characters")
    parameters = _parameters(output.parameters)
    return WantedOutput(
        name=output.name,
        binary=True,
        classes=class_count(parameters.get(CLASSIFICATION, 0)),
    )


def _parameters(parameters: Mapping[str, Any]) -> dict[str, object]:
    if len(parameters) > MAX_PARAMETERS:
        raise bad_request(f"at most {MAX_PARAMETERS} parameters are possible")
    return {
        name: getattr(value, kind)
        for name, value in parameters.items()
        if (kind := value.WhichOneof(ONEOF))
    }


def _put_parameter(place: Any, value: bool | float | str) -> None:  # noqa: ANN401, FBT001
    if isinstance(value, bool):
        place.bool_param = value
    elif isinstance(value, int):
        place.int64_param = value
    elif isinstance(value, float):
        place.double_param = value
    else:
        place.string_param = value

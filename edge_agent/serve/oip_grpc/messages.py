"""The protocol's messages, as a table of fields instead of generated code.

Names, numbers and types of fields are the protocol's (KServe's ``open_inference_grpc``,
Triton's ``grpc_service``); the package is our own: it is not on the wire, and two
definitions of one package could not live in one process (an application that embeds the
engine beside a client of the protocol).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "shoal.oip.v2"
SERVICE = "inference.GRPCInferenceService"
ONEOF = "choice"

_Field = tuple[str, int, str]
"""Name, number and type: a scalar or a message of the table, after ``repeated``,
``map`` (from a string), or ``oneof`` (all of a message are one)."""

_SCALARS = {
    "bool": 8,
    "bytes": 12,
    "double": 1,
    "float": 2,
    "int32": 5,
    "int64": 3,
    "string": 9,
    "uint32": 13,
    "uint64": 4,
}
_MESSAGE_TYPE, _OPTIONAL, _REPEATED = 11, 1, 3
_NAME_VERSION: Sequence[_Field] = (("name", 1, "string"), ("version", 2, "string"))
_TABLE: Mapping[str, Sequence[_Field]] = {
    "ServerLiveResponse": [("live", 1, "bool")],
    "ServerReadyResponse": [("ready", 1, "bool")],
    "ModelReadyRequest": _NAME_VERSION,
    "ModelReadyResponse": [("ready", 1, "bool")],
    "ServerMetadataResponse": [*_NAME_VERSION, ("extensions", 3, "repeated string")],
    "ModelMetadataRequest": _NAME_VERSION,
    "TensorMetadata": [
        ("name", 1, "string"),
        ("datatype", 2, "string"),
        ("shape", 3, "repeated int64"),
    ],
    "ModelMetadataResponse": [
        ("name", 1, "string"),
        ("versions", 2, "repeated string"),
        ("platform", 3, "string"),
        ("inputs", 4, "repeated TensorMetadata"),
        ("outputs", 5, "repeated TensorMetadata"),
    ],
    "InferParameter": [
        ("bool_param", 1, "oneof bool"),
        ("int64_param", 2, "oneof int64"),
        ("string_param", 3, "oneof string"),
        ("double_param", 4, "oneof double"),
        ("uint64_param", 5, "oneof uint64"),
    ],
    "InferTensorContents": [
        ("bool_contents", 1, "repeated bool"),
        ("int_contents", 2, "repeated int32"),
        ("int64_contents", 3, "repeated int64"),
        ("uint_contents", 4, "repeated uint32"),
        ("uint64_contents", 5, "repeated uint64"),
        ("fp32_contents", 6, "repeated float"),
        ("fp64_contents", 7, "repeated double"),
        ("bytes_contents", 8, "repeated bytes"),
    ],
    "InferTensor": [
        ("name", 1, "string"),
        ("datatype", 2, "string"),
        ("shape", 3, "repeated int64"),
        ("parameters", 4, "map InferParameter"),
        ("contents", 5, "InferTensorContents"),
    ],
    "InferRequestedOutputTensor": [
        ("name", 1, "string"),
        ("parameters", 2, "map InferParameter"),
    ],
    "ModelInferRequest": [
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "map InferParameter"),
        ("inputs", 5, "repeated InferTensor"),
        ("outputs", 6, "repeated InferRequestedOutputTensor"),
        ("raw_input_contents", 7, "repeated bytes"),
    ],
    "ModelInferResponse": [
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "map InferParameter"),
        ("outputs", 5, "repeated InferTensor"),
        ("raw_output_contents", 6, "repeated bytes"),
    ],
    "ModelIndex": [
        ("name", 1, "string"),
        ("version", 2, "string"),
        ("state", 3, "string"),
        ("reason", 4, "string"),
    ],
    "RepositoryIndexResponse": [("models", 1, "repeated ModelIndex")],
    "Empty": [],
}


def _add_field(message: Any, name: str, number: int, kind: str) -> None:  # noqa: ANN401
    label, _, of = kind.rpartition(" ")
    field = message.field.add(name=name, number=number, label=_OPTIONAL)
    if label == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name=ONEOF)
        field.oneof_index = 0
    elif label:
        field.label = _REPEATED
    if label == "map":
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "string")
        _add_field(entry, "value", 2, of)
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
        field.type = _MESSAGE_TYPE
    elif of in _SCALARS:
        field.type = _SCALARS[of]
    else:
        field.type_name = f".{PACKAGE}.{of}"
        field.type = _MESSAGE_TYPE


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="shoal_oip_v2.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in _TABLE.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, *field)
    # A pool of our own: nothing is registered for the whole process.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{PACKAGE}.{name}")
        )
        for name in _TABLE
    }


MESSAGES: Mapping[str, Any] = _build()
"""The message classes by name."""

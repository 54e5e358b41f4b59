"""An inference request, from bytes to arrays in two steps. Pure.

:func:`read_request` reads what is announced; nothing of a tensor is decoded before
:meth:`SentTensor.array`, so a request for a model that is not there costs no more than
its announcement. With the binary extension the body is JSON, then the tensors' bytes
in the order of the inputs.
"""

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from edge_agent.serve.oip.datatypes import (
    FLOATS,
    MAX_ELEMENTS,
    from_binary,
    from_floats,
    from_json,
)
from edge_agent.serve.oip.messages import (
    FlatRequest,
    InputHeader,
    OutputHeader,
    RequestHeader,
)
from edge_agent.serve.oip.refusal import RefusedError
from edge_agent.wire.errors import UNREADABLE

BINARY_SIZE, BINARY, BINARY_OUTPUT = (
    "binary_data_size",
    "binary_data",
    "binary_data_output",
)
CLASSIFICATION = "classification"
MAX_CLASSES = 1024

FLAT_BYTES = 1 << 20
"""Up to this size of a request a list cannot grow too large in memory."""

_decoder = msgspec.json.Decoder(RequestHeader)
_flat_decoder = msgspec.json.Decoder(FlatRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentTensor:
    """An input as it came: JSON text or a list, or bytes where ``binary``."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview | list[float]
    binary: bool

    def array(self) -> NDArray[Any]:
        """Return the tensor; bytes are viewed, not copied.

        Raises:
            RefusedError: Data, datatype and shape do not fit each other.
        """
        data = self.data
        if isinstance(data, list):
            return from_floats(data, self.name, self.datatype, self.shape)
        read = from_binary if self.binary else from_json
        return read(data, self.name, self.datatype, self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedOutput:
    """An output that is asked for; ``classes`` > 0: the best so many, as texts."""

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """A request. No ``outputs``: all of them, as bytes where ``binary_output``."""

    id: str
    inputs: tuple[SentTensor, ...]
    outputs: tuple[WantedOutput, ...] = ()
    binary_output: bool = False


def read_request(body: bytes | bytearray, header_length: int | None) -> InferRequest:
    """Read a request.

    Args:
        body: The whole body.
        header_length: Bytes of JSON at its start, as the field
            ``Inference-Header-Content-Length`` says; ``None``: all of it is JSON.

    Raises:
        RefusedError: ``AGENT-OIP-001``: it is not a valid request.
    """
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise bad_request(f"{length} bytes of JSON are announced, {len(body)} came")
    # A view: tensors of it are views too, so nothing is copied.
    text = memoryview(body)[:length]
    header = _read_flat(text) if header_length is None else None
    if header is None:
        header = _read_header(text)
    binary_output = _flag(header.parameters.get(BINARY_OUTPUT), BINARY_OUTPUT)
    return InferRequest(
        id=header.id,
        inputs=_inputs(header.inputs, memoryview(body)[length:]),
        outputs=tuple(_wanted(output, binary_output) for output in header.outputs),
        binary_output=binary_output,
    )


def _read_header(text: memoryview) -> RequestHeader:
    try:
        return _decoder.decode(text)
    except UNREADABLE as error:
        raise bad_request(f"not a valid inference request: {error}") from error


def _read_flat(text: memoryview) -> RequestHeader | None:
    """Return a request of flat lists of floats; ``None`` where it is not one."""
    if len(text) > FLAT_BYTES:
        return None
    try:
        header = _flat_decoder.decode(text)
    except UNREADABLE:
        return None
    # Integers would lose digits as floats.
    fits = all(one.datatype in FLOATS for one in header.inputs)
    return header if fits else None


def bad_request(text: str) -> RefusedError:
    """Return the refusal of a request that cannot be understood."""
    return RefusedError(HTTPStatus.BAD_REQUEST, "AGENT-OIP-001", text)


def check_size(name: str, shape: tuple[int, ...]) -> None:
    """Refuse a tensor that is larger than any can be.

    Raises:
        RefusedError: It is.
    """
    if math.prod(shape) > MAX_ELEMENTS:
        raise bad_request(
            f"tensor {name!r} has more than {MAX_ELEMENTS} elements: {list(shape)}"
        )


def check_names(names: list[str]) -> None:
    """Refuse tensors that share a name.

    Raises:
        RefusedError: Two do.
    """
    if len(set(names)) < len(names):
        raise bad_request(f"names of tensors come twice: {', '.join(names)}"[:512])


def _inputs(headers: list[InputHeader], tail: memoryview) -> tuple[SentTensor, ...]:
    tensors, used = [], 0
    check_names([header.name for header in headers])
    for header in headers:
        shape = tuple(header.shape)
        check_size(header.name, shape)
        size = header.parameters.get(BINARY_SIZE)
        binary = size is not None
        data = _data(header)
        if binary:
            length = _size(size, header.name)
            if header.data is not UNSET or length > len(tail) - used:
                raise bad_request(
                    f"input {header.name!r}: {BINARY_SIZE} does not fit the body"
                )
            data = tail[used : used + length]
            used += length
        elif header.data is UNSET:
            raise bad_request(
                f"input {header.name!r} has neither data nor {BINARY_SIZE}"
            )
        tensors.append(
            SentTensor(
                name=header.name,
                datatype=header.datatype,
                shape=shape,
                data=data,
                binary=binary,
            )
        )
    if used != len(tail):
        raise bad_request(f"{len(tail) - used} bytes after the last input")
    return tuple(tensors)


def _data(header: InputHeader) -> bytes | memoryview | list[float]:
    data: msgspec.Raw | list[float] | UnsetType = header.data
    if data is UNSET:
        return b""
    return data if isinstance(data, list) else memoryview(data)


def _wanted(header: OutputHeader, binary_output: bool) -> WantedOutput:  # noqa: FBT001
    asked = header.parameters.get(BINARY)
    classes = header.parameters.get(CLASSIFICATION, 0)
    return WantedOutput(
        name=header.name,
        binary=binary_output if asked is None else _flag(asked, BINARY),
        classes=class_count(classes),
    )


def class_count(value: object) -> int:
    """Return the parameter ``classification`` of an output.

    Raises:
        RefusedError: It is no number from 0 to :data:`MAX_CLASSES`.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_request(f"{CLASSIFICATION} must be a number")
    if not 0 <= value <= MAX_CLASSES:
        raise bad_request(f"{CLASSIFICATION} must be 0 to {MAX_CLASSES}")
    return value


def _flag(value: object, name: str) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise bad_request(f"{name} must be true or false")
    return value


def _size(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise bad_request(f"input {name!r}: {BINARY_SIZE} must be a number of bytes")
    return value

"""The protocol's datatypes, and tensor data to arrays and back. Pure.

A tensor comes as JSON (flat or nested lists, in row-major order) or as bytes (little-
endian). What is decoded is bounded before it is: the count of elements of JSON by its
commas, the length of bytes by shape and datatype. Texts (``BYTES``) are refused.
"""

import functools
import math
import struct
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edge_agent.serve.oip.refusal import RefusedError

MAX_RANK = 8
MAX_ELEMENTS = 1 << 22
"""Of one tensor: 16 MiB of FP32."""
MAX_JSON_ELEMENTS = 1 << 20
"""As JSON: a list of numbers takes 32 bytes of memory for each while it is decoded."""
TEXT = "BYTES"

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
FLOATS = frozenset(name for name, dtype in DTYPES.items() if dtype.kind == "f")
_PACKED = {"FP32": "f", "FP64": "d"}
"""What :mod:`struct` calls them, in the machine's own order."""
_PACK = 4096
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_INT64_MAX = 2**63 - 1
_SPACES = b" \t\r\n"


def datatype_of(dtype: np.dtype[Any] | str) -> str:
    """Return the protocol's name of a NumPy dtype; ``BYTES`` for one it has none for.

    An output of such a dtype is announced and cannot be asked for.
    """
    return _NAMES.get(np.dtype(dtype), TEXT)


def dtype_of(datatype: str, tensor: str) -> np.dtype[Any]:
    """Return the NumPy dtype of a datatype.

    Raises:
        RefusedError: It is unknown, or texts (``AGENT-OIP-003``).
    """
    found = DTYPES.get(datatype)
    if found is None:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST,
            "AGENT-OIP-003",
            f"tensor {tensor!r}: datatype {datatype!r} is not supported",
            cure=f"send one of {', '.join(DTYPES)}",
        )
    return found


def from_json(
    raw: bytes | memoryview, tensor: str, datatype: str, shape: Sequence[int]
) -> NDArray[Any]:
    """Return the array of a JSON list, flat or nested like ``shape``.

    Raises:
        RefusedError: ``AGENT-OIP-002``: it is no list of such elements, or not as many.
    """
    dtype, count = dtype_of(datatype, tensor), math.prod(shape)
    text = bytes(raw)
    depth = _depth(text)
    if count > MAX_JSON_ELEMENTS:
        raise _misfit(
            f"tensor {tensor!r} has {count} elements, as JSON {MAX_JSON_ELEMENTS} are"
            " possible",
            cure="send it as binary data",
        )
    if depth not in {1, len(shape)} or text.count(b",") + 1 != count:
        raise _misfit(
            f"tensor {tensor!r}: the data is no list of {count} elements, flat or"
            f" nested like {list(shape)}"
        )
    try:
        values = _decoder(datatype, depth).decode(text)
        # A float beyond its dtype becomes infinite; the sample's checks see it.
        with np.errstate(over="ignore"):
            array = np.array(values, dtype)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        why = str(error) if isinstance(error, msgspec.MsgspecError) else "wrong form"
        raise _misfit(f"tensor {tensor!r} is not {datatype}: {why}") from error
    if depth > 1 and array.shape != tuple(shape):
        raise _misfit(f"tensor {tensor!r} has lists of other lengths than its shape")
    return array.reshape(shape)


def from_floats(
    values: list[float], tensor: str, datatype: str, shape: Sequence[int]
) -> NDArray[Any]:
    """Return the array of a flat list of floats.

    Raises:
        RefusedError: ``AGENT-OIP-002``: they are not as many as the shape says.
    """
    if len(values) != math.prod(shape):
        raise _misfit(
            f"tensor {tensor!r}: the data is no list of {math.prod(shape)} elements"
        )
    dtype = dtype_of(datatype, tensor)
    code = _PACKED.get(datatype)
    if code is not None:
        return _packed(values, code).reshape(shape)
    with np.errstate(over="ignore"):
        return np.array(values, dtype).reshape(shape)


def from_binary(
    data: bytes | memoryview, tensor: str, datatype: str, shape: Sequence[int]
) -> NDArray[Any]:
    """Return ``data`` as an array: a view of it where its address allows.

    Raises:
        RefusedError: ``AGENT-OIP-002``: the data has another length than the tensor.
    """
    dtype = dtype_of(datatype, tensor)
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        raise _misfit(
            f"tensor {tensor!r} of {datatype} {list(shape)} takes {wanted} bytes,"
            f" {len(data)} came"
        )
    if dtype == np.bool_:
        # Any byte but 0 is true; a truth value of 2 would not be one to NumPy.
        truths: NDArray[Any] = np.frombuffer(data, np.uint8).reshape(shape) != 0
        return truths
    array = np.frombuffer(data, dtype).reshape(shape)
    # Behind some text the numbers may begin anywhere; not every processor reads that.
    return array if array.flags.aligned else array.copy()


def to_binary(array: NDArray[Any]) -> bytes:
    """Return a tensor's bytes, little-endian in row-major order."""
    if array.dtype == object:
        texts = [str(text).encode() for text in array.reshape(-1)]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    little = array.dtype.newbyteorder("<")
    return np.ascontiguousarray(array, little).tobytes()


def to_json(array: NDArray[Any], tensor: str) -> list[Any]:
    """Return a tensor's elements as a flat list.

    Raises:
        RefusedError: ``AGENT-OIP-007``: JSON has no NaN and no infinity.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise RefusedError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "AGENT-OIP-007",
            f"output {tensor!r} holds NaN or infinity, which JSON cannot say",
            cure="ask for binary data",
        )
    flat: list[Any] = array.reshape(-1).tolist()
    return flat


def _packed(values: list[float], code: str) -> NDArray[Any]:
    """Return floats as an array; like NumPy's own, in half the time.

    In pieces, because each is copied once more on its way.
    """
    array = np.empty(len(values), code)
    for place in range(0, len(values), _PACK):
        part = values[place : place + _PACK]
        start = place * array.itemsize
        struct.pack_into(f"@{len(part)}{code}", array.data, start, *part)
    return array


def _depth(text: bytes) -> int:
    """Return how many lists open at the start of a JSON text."""
    depth, place = 0, 0
    while place < len(text) and depth <= MAX_RANK:
        if text[place] == ord("["):
            depth += 1
        elif text[place] not in _SPACES:
            break
        place += 1
    return depth


@functools.cache
def _decoder(datatype: str, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = _element(DTYPES[datatype])
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _element(dtype: np.dtype[Any]) -> Any:  # noqa: ANN401 - a type
    if dtype.kind == "b":
        return bool
    if dtype.kind == "f":
        return float
    limits = np.iinfo(dtype)
    # msgspec's bounds are int64; beyond, NumPy refuses.
    high = min(int(limits.max), _INT64_MAX)
    if high < limits.max:
        return Annotated[int, Meta(ge=0)]
    return Annotated[int, Meta(ge=int(limits.min), le=high)]


def _misfit(text: str, *, cure: str = "") -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, "AGENT-OIP-002", text, cure=cure)

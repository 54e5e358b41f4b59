"""What a message of a local topic says: rows of numbers, as JSON or raw float32.

JSON is a number, a list (one row), a list of lists (rows, or a sample), or an object
with a number for each of the input's axes (one row); of a model with several inputs an
object with the numbers of each, or a row of them all. Raw is little-endian float32 in
C order: one row, several, or whole samples. Pure.
"""

import math
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.serve.joined import Joined, number_type
from edge_agent.serve.windowing import Rows, as_rows
from edge_agent.wire.manifest import InputContract

MAX_BYTES = 4 << 20
_FLOAT_BYTES = 4

_Form = Literal["json", "float32"]


def read_payload(
    payload: bytes, form: _Form, contract: InputContract, *, is_stream: bool = False
) -> Rows:
    """Return a message's rows as floats.

    Args:
        payload: The message.
        form: ``json`` or ``float32``.
        contract: What a sample looks like.
        is_stream: Whether the configuration gives a hop.

    Raises:
        ValueError: It is not what it should be.
    """
    if len(payload) > MAX_BYTES:
        raise ValueError(f"{len(payload)} bytes; at most {MAX_BYTES} are read")
    if form == "float32":
        if len(payload) % _FLOAT_BYTES:
            raise ValueError(f"{len(payload)} bytes are no float32 values")
        values: NDArray[Any] = np.frombuffer(payload, "<f4")
    else:
        values = _numbers(payload, contract)
    return as_rows(values, contract, is_stream=is_stream)


def _numbers(payload: bytes, contract: InputContract) -> NDArray[Any]:
    try:
        document: object = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if isinstance(contract, Joined) and isinstance(document, dict):
        return _joined(document, contract)
    if isinstance(document, dict):
        missing = [axis for axis in contract.axes if axis not in document]
        if missing or not contract.axes:
            raise ValueError(f"the object has no number for {missing or 'named axes'}")
        document = [document[axis] for axis in contract.axes]
    return _as_numbers(document, contract)


def _joined(document: dict[str, object], contract: Joined) -> NDArray[Any]:
    """Return one row of what is given by the inputs' names."""
    missing = [name for name in contract.names if name not in document]
    if missing:
        raise ValueError(f"the object has nothing for {missing}")
    parts = []
    for one in contract.inputs:
        name, shape = one.tensor.name, tuple(one.tensor.shape)
        part = _as_numbers(document[name], contract)
        if part.size != math.prod(shape):
            raise ValueError(f"{name!r} has {part.size} numbers, not {list(shape)}")
        parts.append(part.ravel())
    return np.concatenate(parts)


def _as_numbers(document: object, contract: InputContract) -> NDArray[Any]:
    try:
        return np.asarray(document, number_type(contract))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"not numbers: {error}") from error

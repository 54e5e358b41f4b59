"""Bytes to control messages and documents and back, with a size cap before decoding."""

from typing import TypeVar

import msgspec

from edge_agent.wire.errors import UNREADABLE, WireError

MAX_DOCUMENT_BYTES = 1 << 20

_T = TypeVar("_T", bound=msgspec.Struct)


def encode(message: msgspec.Struct) -> bytes:
    """Encode a message as compact JSON."""
    return msgspec.json.encode(message)


def encode_pretty(document: msgspec.Struct) -> bytes:
    """Encode a document for people: indented, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def decode(data: bytes, kind: type[_T], *, limit: int = MAX_DOCUMENT_BYTES) -> _T:
    """Decode a message of a known kind.

    Raises:
        WireError: It is longer than ``limit`` bytes, or not a valid ``kind``.
    """
    name = kind.__name__
    if len(data) > limit:
        raise WireError("WIRE-CODEC-001", f"{name} of {len(data)} bytes is too large")
    try:
        return msgspec.json.decode(data, type=kind)
    except UNREADABLE as error:
        raise WireError("WIRE-CODEC-002", f"not a valid {name}: {error}") from error

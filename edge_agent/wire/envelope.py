"""The signed envelope around assignments and commands.

The signature covers the exact payload text behind a prefix that names its purpose, so
no canonical form is needed and a signature for one purpose is worth nothing for
another. The keys that may sign are those of the ``timestamp`` role in the device's
trusted TUF root: the hub's online key, rotated by rotating root.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from edge_agent.wire.types import Message, prepare

MAX_PAYLOAD_BYTES = 16_384


class Purpose(StrEnum):
    """What a signed payload is for; part of the signed bytes."""

    ASSIGNMENT = "shoal-assignment-v1"
    COMMAND = "shoal-command-v1"


class Envelope(Message, frozen=True, kw_only=True):
    """A payload (JSON text) with one signature (hex) by the key ``keyid``."""

    payload: Annotated[str, Meta(max_length=MAX_PAYLOAD_BYTES)]
    keyid: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    sig: Annotated[str, Meta(pattern=r"^[0-9a-f]{2,1024}\Z")]


Sign = Callable[[bytes], tuple[str, str]]
"""Bytes to (key id, signature in hex)."""
Verify = Callable[[str, bytes, str], bool]
"""(key id, bytes, signature in hex) to whether that key signed these bytes."""


def signed_bytes(purpose: Purpose, payload: str) -> bytes:
    """Return the bytes that are signed for a payload."""
    return f"{purpose}\n{payload}".encode()


def seal(purpose: Purpose, payload: bytes, sign: Sign) -> Envelope:
    """Sign an encoded message."""
    text = payload.decode()
    keyid, sig = sign(signed_bytes(purpose, text))
    return Envelope(payload=text, keyid=keyid, sig=sig)


def is_authentic(purpose: Purpose, envelope: Envelope, verify: Verify) -> bool:
    """Tell whether an envelope was signed for this purpose by a key that may."""
    data = signed_bytes(purpose, envelope.payload)
    return verify(envelope.keyid, data, envelope.sig)


prepare(Envelope)

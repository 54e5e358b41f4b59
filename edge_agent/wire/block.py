"""Artifacts in blocks over MQTT, for devices whose only way out is the broker.

The device asks for ``count`` blocks from a byte ``offset`` on ``block/get``; the hub
answers each on ``block/data``: ``u16`` length of the header (big-endian), the header as
JSON, the bytes. Nobody promises delivery: the device asks again for what is missing.
"""

import zlib
from typing import Annotated

import msgspec
from msgspec import Meta

from edge_agent.wire.errors import UNREADABLE, WireError
from edge_agent.wire.types import Count, Message, Sha256, Text, prepare
from edge_agent.wire.version import PROTOCOL_VERSION

BLOCK_BYTES = 64 << 10
MAX_BLOCKS = 16
MAX_REQUEST_BYTES = 1024
_LENGTH_BYTES = 2
_MAX_HEADER_BYTES = 4096


class BlockRequest(Message, frozen=True, kw_only=True):
    """``count`` blocks of 64 KiB of an artifact, from the byte ``offset``."""

    v: Count = PROTOCOL_VERSION
    sha256: Sha256
    offset: Count
    count: Annotated[int, Meta(ge=1, le=MAX_BLOCKS)]


class BlockHeader(Message, frozen=True, kw_only=True):
    """Which part of which artifact the bytes are; only the last one may be shorter.

    ``crc32`` is of the bytes (as zlib's). With a ``refusal`` there are none.
    """

    v: Count = PROTOCOL_VERSION
    sha256: Sha256
    offset: Count
    total: Count
    crc32: Count
    refusal: Text = ""


_decode_header = msgspec.json.Decoder(BlockHeader)


def encode_block(header: BlockHeader, data: bytes) -> bytes:
    """Encode a block."""
    head = msgspec.json.encode(header)
    return len(head).to_bytes(_LENGTH_BYTES) + head + data


def decode_block(payload: bytes) -> tuple[BlockHeader, bytes]:
    """Decode and check a block.

    Raises:
        WireError: It is too large, damaged, or not of this form.
    """
    start = _LENGTH_BYTES + int.from_bytes(payload[:_LENGTH_BYTES])
    if len(payload) < _LENGTH_BYTES or not _LENGTH_BYTES < start <= len(payload):
        raise WireError("WIRE-BLOCK-001", "block is cut short")
    if len(payload) > start + BLOCK_BYTES or start > _MAX_HEADER_BYTES:
        raise WireError("WIRE-BLOCK-002", f"block of {len(payload)} bytes is too large")
    try:
        header = _decode_header.decode(payload[_LENGTH_BYTES:start])
    except UNREADABLE as error:
        raise WireError("WIRE-BLOCK-003", f"not a block: {error}") from error
    data = payload[start:]
    whole = min(BLOCK_BYTES, max(0, header.total - header.offset))
    if header.refusal:
        whole = 0
    if len(data) != whole or zlib.crc32(data) != header.crc32:
        raise WireError("WIRE-BLOCK-004", "the bytes of a block are damaged")
    return header, data


prepare(BlockRequest)

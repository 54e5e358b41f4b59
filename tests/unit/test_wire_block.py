"""Blocks on the wire: bounded, checked, refused with a code where damaged."""

import zlib

import pytest

from edge_agent.wire.block import BLOCK_BYTES, BlockHeader, decode_block, encode_block
from edge_agent.wire.errors import WireError

DATA = b"hello"


def header(data: bytes = DATA, *, refusal: str = "") -> BlockHeader:
    """Return the header of the only block of an artifact."""
    return BlockHeader(
        sha256="ab" * 32,
        offset=0,
        total=len(data),
        crc32=zlib.crc32(data),
        refusal=refusal,
    )


def test_a_block_comes_back_as_it_went() -> None:
    """Header and bytes survive the encoding; so does a refusal without bytes."""
    assert decode_block(encode_block(header(), DATA)) == (header(), DATA)
    refused = header(b"", refusal="HUB-BLOCK-001: no")
    assert decode_block(encode_block(refused, b"")) == (refused, b"")


def test_a_block_cut_anywhere_is_refused() -> None:
    """Half a block is never taken for a whole one."""
    whole = encode_block(header(), DATA)

    for cut in range(len(whole)):
        with pytest.raises(WireError, match="WIRE-BLOCK"):
            decode_block(whole[:cut])


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "WIRE-BLOCK-001"),
        (b"\xff\xff{}", "WIRE-BLOCK-001"),
        (encode_block(header(), bytes(BLOCK_BYTES + 1)), "WIRE-BLOCK-002"),
        (b"\x00\x02{}", "WIRE-BLOCK-003"),
        (b"\x00\x02[]" + DATA, "WIRE-BLOCK-003"),
        (encode_block(header(), b"jello"), "WIRE-BLOCK-004"),
        (encode_block(header(), b"hello!"), "WIRE-BLOCK-004"),
    ],
)
def test_what_is_no_sound_block_is_refused_with_a_code(
    payload: bytes, code: str
) -> None:
    """Length, form and checksum are looked at, in this order."""
    with pytest.raises(WireError, match=code):
        decode_block(payload)

"""The format of a patch: a plan of steps, and the streams of bytes they take from.

A patch turns the *base* (a file that the device has) into the *target*. Each step makes
the next bytes of the target: new ones, or bytes of the base plus a difference. Nothing
in a patch is trusted beyond its bounds: whoever applies it checks the target against
the signed length and digest.

Layout (little-endian): ``HEADER``, then one ``STREAM_HEADER`` a stream in the order of
:data:`STREAMS`, then the packed streams in that order, and nothing behind them.
"""

import hashlib
import lzma
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

MAGIC = b"SHOALDP1"
HEADER = struct.Struct("<8s32sI")
"""Magic, sha256 of the base (zeros: none is needed), length of the target."""
STREAM_HEADER = struct.Struct("<BII")
"""Codec, length, packed length."""
STORED, LZMA2 = 0, 1
DICTIONARY_BYTES = 8 << 20
NO_BASE = bytes(32)

PLAN, NEW, RATIOS, BYTES = "plan", "new", "ratios", "bytes"
PLANES: dict[int, tuple[str, ...]] = {
    1: (BYTES,),
    2: ("half.0", "half.1"),
    4: ("word.0", "word.1", "word.2", "word.3"),
}
"""The streams of differences by width of an element: one a byte, lowest first."""
STREAMS = (PLAN, NEW, RATIOS, *PLANES[1], *PLANES[2], *PLANES[4])

MAX_STEPS = 1 << 17
MAX_RATIOS = 1 << 20
RATIO_BYTES = 8
_SAMPLE_BYTES = 256 << 10
_MAX_NUMBER_BYTES = 5
_STEP_BYTES = 1 + 4 * _MAX_NUMBER_BYTES


class PatchError(Exception):
    """A patch that cannot be applied; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Make ``length`` bytes.

    ``width`` 0: they come from the stream ``new``. Else they are ``base[offset:]`` as
    elements of ``width`` bytes plus differences. With ``channels``, each element is
    first multiplied by the ratio of its channel: element ``i`` has the channel
    ``i // inner % channels``.
    """

    length: int
    width: int = 0
    offset: int = 0
    channels: int = 0
    inner: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A patch whose streams are unpacked."""

    base: bytes
    length: int
    steps: tuple[Step, ...]
    streams: Mapping[str, bytes]

    def is_for(self, base: bytes) -> bool:
        """Tell whether these bytes are the base."""
        return self.base == NO_BASE or hashlib.sha256(base).digest() == self.base


def encode_patch(patch: Patch) -> bytes:
    """Return the patch as bytes, each stream packed as it gets smallest."""
    streams = {**patch.streams, PLAN: b"".join(_encode_steps(patch.steps))}
    packed = [_pack(name, streams.get(name, b"")) for name in STREAMS]
    return b"".join(
        [
            HEADER.pack(MAGIC, patch.base, patch.length),
            *(STREAM_HEADER.pack(c, n, len(data)) for c, n, data in packed),
            *(data for _, _, data in packed),
        ]
    )


def decode_patch(data: bytes, length: int) -> Patch:
    """Read a patch for a target of ``length`` bytes; memory is bounded by that.

    Raises:
        PatchError: It is damaged, for another target, or unpacks to too much.
    """
    place = HEADER.size + len(STREAMS) * STREAM_HEADER.size
    if len(data) < place or not data.startswith(MAGIC):
        raise PatchError("not a patch of this version")
    _, base, promised = HEADER.unpack_from(data)
    if promised != length:
        raise PatchError(f"makes {promised} bytes, {length} were signed")
    headers = list(STREAM_HEADER.iter_unpack(data[HEADER.size : place]))
    _check_sizes(
        {n: size for n, (_, size, _) in zip(STREAMS, headers, strict=True)}, length
    )
    streams: dict[str, bytes] = {}
    for name, (codec, size, packed) in zip(STREAMS, headers, strict=True):
        streams[name] = _unpack(name, codec, data[place : place + packed], size)
        place += packed
    if place != len(data):
        raise PatchError("is not as long as its streams")
    steps = tuple(_decode_steps(streams.pop(PLAN)))
    return Patch(base=base, length=length, steps=steps, streams=streams)


def _check_sizes(sizes: Mapping[str, int], length: int) -> None:
    """Refuse to unpack what no target of this length needs.

    Each byte of the target takes one byte, either a new one or one of a difference.
    """
    made = sum(size for name, size in sizes.items() if name not in {PLAN, RATIOS})
    if made != length:
        raise PatchError(f"holds {made} bytes for a target of {length}")
    if sizes[PLAN] > min(MAX_STEPS, length) * _STEP_BYTES:
        raise PatchError(f"has a plan of {sizes[PLAN]} bytes")
    if sizes[RATIOS] > min(MAX_RATIOS, length) * RATIO_BYTES:
        raise PatchError(f"has ratios of {sizes[RATIOS]} bytes")


def _encode_steps(steps: Sequence[Step]) -> Iterator[bytes]:
    """Encode steps as numbers; offsets count from the end of the step before."""
    place = 0
    for step in steps:
        yield bytes([step.width | (0x80 if step.channels else 0)])
        yield _number(step.length)
        if step.width:
            ahead = step.offset - place
            yield _number(ahead << 1 if ahead >= 0 else (-ahead << 1) - 1)
            place = step.offset + step.length
        if step.channels:
            yield _number(step.channels) + _number(step.inner)


def _decode_steps(data: bytes) -> Iterator[Step]:
    numbers = _Numbers(data)
    place = 0
    while not numbers.is_done:
        kind = numbers.byte()
        width, length = kind & 0x7F, numbers.next()
        if width not in {0, *PLANES} or length == 0 or (width and length % width):
            raise PatchError("the plan has a step that cannot be")
        offset, channels, inner = 0, 0, 1
        if width:
            ahead = numbers.next()
            offset = place + (-((ahead + 1) >> 1) if ahead & 1 else ahead >> 1)
            place = offset + length
        if kind & 0x80:
            channels, inner = numbers.next(), numbers.next()
            if not channels or not inner or length % (width * channels * inner or 1):
                raise PatchError("the plan has channels that do not fit")
        yield Step(
            length=length, width=width, offset=offset, channels=channels, inner=inner
        )


class _Numbers:
    """Reads numbers of seven bits a byte, lowest first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    @property
    def is_done(self) -> bool:
        return self._place == len(self._data)

    def byte(self) -> int:
        if self.is_done:
            raise PatchError("the plan ends early")
        self._place += 1
        return self._data[self._place - 1]

    def next(self) -> int:
        value = 0
        for place in range(_MAX_NUMBER_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:  # noqa: PLR2004 - the bit that says "more"
                return value
        raise PatchError("the plan has a number that is too long")


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:  # noqa: PLR2004 - the bit that says "more"
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _pack(name: str, data: bytes) -> tuple[int, int, bytes]:
    """Return codec, length and packed bytes of a stream."""
    if not data:
        return STORED, 0, data
    if name == RATIOS:
        packed = _compress(data, context=0, alignment=3)
    else:
        # Some streams gain by looking at the byte before, some lose: a sample tells.
        sample = data[:_SAMPLE_BYTES]
        contexts = sorted((0, 3), key=lambda n: len(_compress(sample, context=n)))
        packed = _compress(data, context=contexts[0])
    if len(packed) < len(data):
        return LZMA2, len(data), packed
    return STORED, len(data), data


def _compress(data: bytes, *, context: int, alignment: int = 0) -> bytes:
    return lzma.compress(
        data,
        format=lzma.FORMAT_RAW,
        filters=[
            {
                "id": lzma.FILTER_LZMA2,
                "preset": lzma.PRESET_EXTREME | 9,
                "dict_size": DICTIONARY_BYTES,
                "lc": context,
                "lp": alignment,
                "pb": alignment,
            }
        ],
    )


def _unpack(name: str, codec: int, data: bytes, size: int) -> bytes:
    if codec == STORED:
        if len(data) != size:
            raise PatchError(f"stream {name} has another length")
        return data
    if codec != LZMA2:
        raise PatchError(f"stream {name} is packed in an unknown way")
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": DICTIONARY_BYTES}]
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    try:
        # One byte more than promised shows a stream that does not end there.
        out = unpacker.decompress(data, size + 1)
    except lzma.LZMAError as error:
        raise PatchError(f"stream {name} is damaged: {error}") from error
    if len(out) != size or not unpacker.eof or unpacker.unused_data:
        raise PatchError(f"stream {name} has another length")
    return out

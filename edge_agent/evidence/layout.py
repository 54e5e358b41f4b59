"""Where everything is in the ring's memory, and what can be believed of it. Pure.

Header (8 KiB: sizes, digest and tensors of the input contract), slots of one kept
sample each, and at the end a few places for inputs that did not fit. All numbers are
little-endian. A writer may die at any byte, and the file of a ring on disk may hold
anything: a header counts only if its checksum fits *and* its sizes do; a slot counts
only if its checksum does. Used by the supervisor too, so without NumPy.
"""

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from edge_agent.base.digest import sha256_hex
from edge_agent.wire.manifest import InputContract, TensorContract

MAGIC = b"SHOALRNG"
VERSION = 1
MIN_BYTES, MAX_BYTES = 64 << 10, 64 << 20
HEADER_BYTES = 8 << 10
MAX_SLOTS = 256
MIN_SLOTS = 64
"""Fewer pairs than these tell a paired test nothing."""
MAX_MISFITS = 16
MISFIT_SHARE = 8
"""Inputs that did not fit get at most one eighth of the memory."""
STRETCH = 16
"""Consecutive samples that are kept together of a model that keeps state."""

_HEADER = struct.Struct("<8sIIIIIII32s")
_SLOT = struct.Struct("<QQQdIII")
_MISFIT = struct.Struct("<QII")
_CRC_PLACE = 12
_BLANK = bytes(len(MAGIC))
_ALIGN = 8
_MAX_COUNT, _MAX_STRETCH, _MAX_AGE_S = 2**53, 2**31, 1e10
"""What no writer reaches; it counts on from what it finds."""
_WIDTHS = {"bool": 1}
_tensors = msgspec.json.Decoder(list[TensorContract])
Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A header: ``contract`` is the digest of ``tensors``, the inputs of a sample."""

    contract: str
    tensors: tuple[TensorContract, ...]
    slots: int
    slot_bytes: int
    misfits: int
    misfit_bytes: int
    total: int

    def slot(self, place: int) -> slice:
        """Return where slot ``place`` is."""
        start = HEADER_BYTES + place * self.slot_bytes
        return slice(start, start + self.slot_bytes)

    def misfit(self, place: int) -> slice:
        """Return where the misfit ``place`` is."""
        start = self.total - (self.misfits - place) * self.misfit_bytes
        return slice(start, start + self.misfit_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One kept sample: ``order`` rises with every one that is kept.

    ``stream`` is the key of its stream's name, ``age_s`` how long the ring had been
    recorded when the sample came.
    """

    order: int
    number: int
    stream: int
    age_s: float
    stretch: int
    data: bytes


def tensor_bytes(tensor: TensorContract) -> int:
    """Return how many bytes a sample of a tensor has."""
    digits = "".join(filter(str.isdigit, tensor.dtype))
    return math.prod(tensor.shape) * (_WIDTHS.get(tensor.dtype) or int(digits) // 8)


def contract_digest(inputs: Sequence[InputContract]) -> str:
    """Return the digest (hexadecimal) of what makes a sample fit a model's inputs.

    Names, dtypes and shapes; a sample that leaves the limits of a newer release still
    fits, and is then one that only the newer one rejects.
    """
    return _digest([one.tensor for one in inputs])


def _digest(tensors: Sequence[TensorContract]) -> str:
    facts = [(one.name, one.dtype, one.shape) for one in tensors]
    return sha256_hex(msgspec.json.encode(facts))


def plan(inputs: Sequence[InputContract], total: int) -> Layout:
    """Return how samples of a contract are kept in ``total`` bytes.

    It has no slots where not one sample has room, and no misfits where a sample takes
    more than their share.
    """
    tensors = tuple(one.tensor for one in inputs)
    slot_bytes = _slot_bytes(tensors)
    misfits, misfit_bytes = _misfits(slot_bytes, total)
    room = total - HEADER_BYTES - misfits * misfit_bytes
    described = _HEADER.size + len(msgspec.json.encode(tensors)) <= HEADER_BYTES
    return Layout(
        contract=_digest(tensors),
        tensors=tensors,
        slots=min(MAX_SLOTS, room // slot_bytes) if described else 0,
        slot_bytes=slot_bytes,
        misfits=misfits,
        misfit_bytes=misfit_bytes,
        total=total,
    )


def _misfits(slot_bytes: int, total: int) -> tuple[int, int]:
    """Return how many inputs that did not fit are kept, and in how many bytes each."""
    share = total // MISFIT_SHARE
    # What does not fit is seldom much larger than what does: float64, a longer window.
    misfit_bytes = _aligned(max(share // MAX_MISFITS, 2 * slot_bytes + 512))
    misfits = min(MAX_MISFITS, share // misfit_bytes)
    return misfits, misfit_bytes if misfits else 0


def write_header(layout: Layout) -> bytes:
    """Return the header; a layout without slots cannot be told and is left blank."""
    tensors = msgspec.json.encode(layout.tensors)
    if not layout.slots:
        return bytes(HEADER_BYTES)
    head = _pack_header(layout, 0, len(tensors))
    head = _pack_header(layout, zlib.crc32(head + tensors), len(tensors))
    return (head + tensors).ljust(HEADER_BYTES, b"\0")


def _pack_header(layout: Layout, crc: int, length: int) -> bytes:
    return _HEADER.pack(
        MAGIC,
        VERSION,
        crc,
        layout.slots,
        layout.slot_bytes,
        layout.misfits,
        layout.misfit_bytes,
        length,
        bytes.fromhex(layout.contract),
    )


def is_blank(header: Buffer) -> bool:
    """Tell whether nothing was laid out yet."""
    return bytes(header[: len(MAGIC)]) == _BLANK


def read_header(header: Buffer, total: int) -> Layout | None:
    """Return the layout of a memory of ``total`` bytes; ``None``: not to be believed.

    Args:
        header: Its first :data:`HEADER_BYTES`.
        total: Its size.
    """
    if len(header) < HEADER_BYTES:
        return None
    magic, version, crc, *sizes, length, digest = _HEADER.unpack_from(header)
    end = _HEADER.size + length
    if magic != MAGIC or version != VERSION or end > HEADER_BYTES:
        return None
    told = bytearray(header[:end])
    told[_CRC_PLACE : _CRC_PLACE + 4] = bytes(4)
    if zlib.crc32(told) != crc:
        return None
    try:
        tensors = tuple(_tensors.decode(told[_HEADER.size :]))
    except msgspec.MsgspecError:
        return None
    slots, slot_bytes, misfits, misfit_bytes = sizes
    layout = Layout(
        contract=digest.hex(),
        tensors=tensors,
        slots=slots,
        slot_bytes=slot_bytes,
        misfits=misfits,
        misfit_bytes=misfit_bytes,
        total=total,
    )
    return layout if _is_possible(layout) else None


def _is_possible(layout: Layout) -> bool:
    taken = layout.slots * layout.slot_bytes + layout.misfits * layout.misfit_bytes
    slot_bytes = _slot_bytes(layout.tensors)
    return (
        bool(layout.tensors)
        and layout.contract == _digest(layout.tensors)
        and 0 < layout.slots <= MAX_SLOTS
        and layout.slot_bytes == slot_bytes
        and (layout.misfits, layout.misfit_bytes) == _misfits(slot_bytes, layout.total)
        and HEADER_BYTES + taken <= layout.total
    )


def write_slot(slot: Slot) -> bytes:
    """Return a slot's bytes."""
    fields = (slot.order, slot.number, slot.stream, slot.age_s, slot.stretch)
    crc = _slot_crc(_SLOT.pack(*fields, len(slot.data), 0), slot.data)
    return _SLOT.pack(*fields, len(slot.data), crc) + slot.data


def read_slot(raw: Buffer) -> Slot | None:
    """Return what a slot holds; ``None``: it is torn (see :func:`is_free`)."""
    order, number, stream, age_s, stretch, length, crc = _SLOT.unpack_from(raw)
    if length > len(raw) - _SLOT.size:
        return None
    data = bytes(raw[_SLOT.size : _SLOT.size + length])
    head = _SLOT.pack(order, number, stream, age_s, stretch, length, 0)
    is_possible = max(order, number) <= _MAX_COUNT and stretch <= _MAX_STRETCH
    if _slot_crc(head, data) != crc or not is_possible or not 0 <= age_s <= _MAX_AGE_S:
        return None
    return Slot(
        order=order,
        number=number,
        stream=stream,
        age_s=age_s,
        stretch=stretch,
        data=data,
    )


def is_free(raw: Buffer) -> bool:
    """Tell whether nothing was kept in a slot, or in a misfit's place, yet."""
    return not any(raw[:8])


def _slot_crc(head: bytes, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(head))


def write_misfit(order: int, payload: bytes) -> bytes:
    """Return the bytes of an input that did not fit."""
    crc = zlib.crc32(payload, order & 0xFFFFFFFF)
    return _MISFIT.pack(order, len(payload), crc) + payload


def read_misfit(raw: Buffer) -> tuple[int, bytes] | None:
    """Return order and payload of an input that did not fit; ``None``: torn."""
    order, length, crc = _MISFIT.unpack_from(raw)
    payload = bytes(raw[_MISFIT.size : _MISFIT.size + length])
    if (
        order > _MAX_COUNT
        or len(payload) != length
        or zlib.crc32(payload, order & 0xFFFFFFFF) != crc
    ):
        return None
    return order, payload


def misfit_room(layout: Layout) -> int:
    """Return how many bytes the payload of a misfit may have."""
    return layout.misfit_bytes - _MISFIT.size if layout.misfits else 0


def _slot_bytes(tensors: Sequence[TensorContract]) -> int:
    return _aligned(_SLOT.size + sum(map(tensor_bytes, tensors)))


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN

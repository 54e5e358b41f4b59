"""The one writer of the ring: lays it out, writes slots, empties it.

It may die at any byte. Until a header is whole it counts as none, and a slot that is
half written is torn: the next writer goes on with the rest.
"""

import mmap
import struct
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from edge_agent.evidence.layout import (
    HEADER_BYTES,
    Layout,
    Slot,
    is_blank,
    misfit_room,
    plan,
    write_header,
    write_misfit,
    write_slot,
)
from edge_agent.evidence.ring import MisfitHead, MisfitPart, Ring, map_ring
from edge_agent.runtime.port import Array
from edge_agent.wire.manifest import InputContract

_FREE = bytes(8)
_KINDS = "fiub"
_MAX_PARTS = 16
_MAX_NAME = 128
_MAX_WIDTH = 8
_STEP = 64 << 10


class RingWriter:
    """Writes the ring.

    Attributes:
        layout: How the memory is laid out; ``None`` before :meth:`follow`.
        ring: A reader of the same map.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        """Write to a map; see :meth:`attach`."""
        self._memory = memory
        self.ring = Ring(memory)
        self.layout: Layout | None = None

    @classmethod
    def attach(cls, fd: int) -> "RingWriter":
        """Map the memory of a descriptor.

        Raises:
            RingError: It cannot be mapped (``AGENT-EVIDENCE-001``).
        """
        return cls(map_ring(fd, mmap.PROT_READ | mmap.PROT_WRITE))

    @property
    def total(self) -> int:
        """Size of the memory in bytes."""
        return len(self._memory)

    def follow(self, inputs: Sequence[InputContract]) -> bool:
        """Keep samples of these inputs from now on; true if what is there still fits.

        Otherwise the ring is emptied and laid out anew.
        """
        wanted, present = plan(inputs, self.total), self.ring.layout
        self.layout = wanted
        if wanted == present:
            return True
        if not is_blank(self._memory[:HEADER_BYTES]):
            self.clear()
            # Blank only now: what is under a blank header is always empty.
            self._memory[:HEADER_BYTES] = bytes(HEADER_BYTES)
        # The checksum is in the first bytes: a header that is cut counts as none.
        self._memory[:HEADER_BYTES] = write_header(wanted)
        return False

    def clear(self) -> None:
        """Empty the ring; every byte that was kept is overwritten."""
        for start in range(HEADER_BYTES, self.total, _STEP):
            end = min(start + _STEP, self.total)
            self._memory[start:end] = bytes(end - start)

    def write(self, place: int, slot: Slot) -> None:
        """Write a sample into a slot of the layout."""
        if self.layout is not None:
            where = self.layout.slot(place)
            raw = write_slot(slot)
            self._memory[where.start : where.start + len(raw)] = raw

    def free(self, place: int) -> None:
        """Empty a slot."""
        if self.layout is not None:
            start = self.layout.slot(place).start
            self._memory[start : start + len(_FREE)] = _FREE

    def write_misfit(self, place: int, order: int, payload: bytes) -> None:
        """Write an input that did not fit (see :func:`pack_misfit`)."""
        if self.layout is not None:
            raw = write_misfit(order, payload)
            start = self.layout.misfit(place).start
            self._memory[start : start + len(raw)] = raw


def pack_misfit(
    layout: Layout, given: object, reason: str, only_name: str = ""
) -> bytes | None:
    """Return an input that did not fit as bytes; ``None`` if there is no room for it.

    Args:
        layout: Says how much room there is.
        given: An array, or arrays by name; only numbers are kept.
        reason: Why it was refused.
        only_name: Name of an array that comes without one.
    """
    named = given if isinstance(given, Mapping) else {only_name: given}
    parts: list[MisfitPart] = []
    arrays: list[Array] = []
    for name, array in list(named.items())[:_MAX_PARTS]:
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _KINDS:
            return None
        if array.nbytes > misfit_room(layout) or array.dtype.itemsize > _MAX_WIDTH:
            return None
        shape = list(array.shape)
        parts.append(
            MisfitPart(name=str(name)[:_MAX_NAME], dtype=array.dtype.name, shape=shape)
        )
        arrays.append(array)
    head = msgspec.json.encode(MisfitHead(reason=reason, parts=parts))
    data = b"".join(little_bytes(array) for array in arrays)
    payload = struct.pack("<I", len(head)) + head + data
    return payload if len(payload) <= misfit_room(layout) else None


def little_bytes(array: Array) -> bytes:
    """Return an array's numbers in C order, little-endian."""
    dtype = array.dtype.newbyteorder("<")
    return array.astype(dtype, copy=False).tobytes()

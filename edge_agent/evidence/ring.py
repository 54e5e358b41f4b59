"""The ring of the device's own inputs, as its readers see it.

The supervisor holds the memory (:mod:`~edge_agent.evidence.memory`), the worker writes
it (:mod:`~edge_agent.evidence.ring_writer`), and the paired test's process reads it,
also while the worker writes: a slot whose checksum does not fit is left out. Nothing
that is read is believed before it is checked.
"""

import math
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import msgspec
import numpy as np

from edge_agent.errors import RingError
from edge_agent.evidence.layout import (
    HEADER_BYTES,
    MAX_BYTES,
    MIN_BYTES,
    Layout,
    Slot,
    contract_digest,
    is_free,
    read_header,
    read_misfit,
    read_slot,
    tensor_bytes,
)
from edge_agent.runtime.port import Array
from edge_agent.wire.manifest import NumberType, TensorContract
from edge_agent.wire.types import Short

__all__ = ["KeptSample", "Misfit", "Ring", "contract_digest", "map_ring"]

UNUSABLE = "AGENT-EVIDENCE-001"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSample:
    """A sample that the active release answered.

    Attributes:
        number: The sample's place in its stream; rises by one per answered sample.
        stream: Small id of its stream, by age of what is kept; not stable over calls.
        stretch: Id of the run of consecutive samples it belongs to; 0: a single one.
        arrays: Validated arrays by input name, of the contract's dtype and shape,
            without batch axis. The caller owns them.
    """

    number: int
    stream: int
    stretch: int
    arrays: dict[str, Array]


class MisfitPart(msgspec.Struct, frozen=True):
    """One array of an input that did not fit; ``name`` is empty for an only one."""

    name: Short
    dtype: NumberType
    shape: Annotated[
        list[Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]],
        msgspec.Meta(max_length=32),
    ]


class MisfitHead(msgspec.Struct, frozen=True):
    """What an input that did not fit is made of; its numbers follow."""

    reason: Short
    parts: Annotated[list[MisfitPart], msgspec.Meta(max_length=16)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """An input that the active release refused: ``shape``, ``dtype`` or ``inputs``."""

    reason: str
    arrays: dict[str, Array]


_heads = msgspec.json.Decoder(MisfitHead)
LENGTH_BYTES = 4


class Ring:
    """A map of the ring's memory.

    Attributes:
        torn: How many slots :meth:`samples` left out when it was last called.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        """Read a map; see :meth:`attach`."""
        self._memory = memory
        self._torn = 0

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Return a reader of the memory that a descriptor stands for.

        The descriptor may be closed afterwards.

        Raises:
            RingError: It cannot be mapped, or is no ring by its size
                (``AGENT-EVIDENCE-001``).
        """
        return cls(map_ring(fd, mmap.PROT_READ))

    @property
    def torn(self) -> int:
        """How many slots the last :meth:`samples` left out."""
        return self._torn

    @property
    def contract(self) -> str:
        """Digest (hexadecimal) of the contract that the samples fit; empty: none."""
        layout = self.layout
        return layout.contract if layout is not None else ""

    @property
    def layout(self) -> Layout | None:
        """The header as it is now; ``None`` where none can be believed."""
        return read_header(self._memory[:HEADER_BYTES], len(self._memory))

    def samples(self) -> list[KeptSample]:
        """Return what is kept, oldest first."""
        layout = self.layout
        slots = self.slots(layout)
        if layout is None:
            return []
        ids: dict[int, int] = {}
        return [
            KeptSample(
                number=slot.number,
                stream=ids.setdefault(slot.stream, len(ids)),
                stretch=slot.stretch,
                arrays=_arrays(layout.tensors, slot.data),
            )
            for _, slot in slots
        ]

    def slots(self, layout: Layout | None) -> list[tuple[int, Slot]]:
        """Return the slots that hold a sample with their places, oldest first."""
        self._torn = 0
        if layout is None:
            return []
        wanted = sum(map(tensor_bytes, layout.tensors))
        found = []
        for place in range(layout.slots):
            raw = self._memory[layout.slot(place)]
            if is_free(raw):
                continue
            slot = read_slot(raw)
            if slot is None or len(slot.data) != wanted:
                self._torn += 1
            else:
                found.append((place, slot))
        return sorted(found, key=lambda one: one[1].order)

    def misfits(self) -> list[Misfit]:
        """Return the inputs that did not fit, oldest first."""
        made = (_misfit(payload) for _, _, payload in self.misfit_places(self.layout))
        return [one for one in made if one is not None]

    def misfit_places(self, layout: Layout | None) -> list[tuple[int, int, bytes]]:
        """Return order, place and payload of the inputs that did not fit, by order."""
        found = []
        for place in range(layout.misfits if layout is not None else 0):
            raw = self._memory[layout.misfit(place)] if layout is not None else b""
            read = None if is_free(raw) else read_misfit(raw)
            if read is not None:
                found.append((read[0], place, read[1]))
        return sorted(found)

    def close(self) -> None:
        """Unmap the memory."""
        self._memory.close()


def map_ring(fd: int, protection: int) -> mmap.mmap:
    """Map a ring's memory.

    Raises:
        RingError: It cannot be mapped, or is no ring by its size.
    """
    try:
        size = os.fstat(fd).st_size
        if not MIN_BYTES <= size <= MAX_BYTES:
            raise _unusable(f"it has {size} bytes")
        return mmap.mmap(fd, size, mmap.MAP_SHARED, protection)
    except (OSError, ValueError, OverflowError) as error:
        raise _unusable(str(error)) from error


def _unusable(why: str) -> RingError:
    return RingError(
        UNUSABLE,
        f"the ring of own inputs cannot be used: {why}",
        cure="restart the agent; edge-agent doctor shows whether it has one",
    )


def _arrays(tensors: Sequence[TensorContract], data: bytes) -> dict[str, Array]:
    made: dict[str, Array] = {}
    start = 0
    for tensor in tensors:
        end = start + tensor_bytes(tensor)
        flat = np.frombuffer(data[start:end], _little(tensor.dtype))
        made[tensor.name] = flat.astype(tensor.dtype).reshape(tensor.shape)
        start = end
    return made


def _misfit(payload: bytes) -> Misfit | None:
    length = int.from_bytes(payload[:LENGTH_BYTES], "little")
    end = LENGTH_BYTES + length
    try:
        head = _heads.decode(payload[LENGTH_BYTES:end])
    except msgspec.MsgspecError:
        return None
    data, arrays, start = payload[end:], {}, 0
    for part in head.parts:
        dtype = np.dtype(part.dtype)
        stop = start + math.prod(part.shape) * dtype.itemsize
        if stop > len(data):
            return None
        flat = np.frombuffer(data[start:stop], _little(part.dtype))
        arrays[part.name] = flat.astype(dtype).reshape(part.shape)
        start = stop
    return Misfit(reason=head.reason, arrays=arrays)


def _little(dtype: str) -> np.dtype[np.generic]:
    return np.dtype(dtype).newbyteorder("<")

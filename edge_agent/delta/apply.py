"""Applying a patch: base and patch in, target out.

Called by the device in a process of its own (:mod:`edge_agent.update.patching`).
"""

import numpy as np
from numpy.typing import NDArray

from edge_agent.delta.patch import (
    NEW,
    PLANES,
    RATIO_BYTES,
    RATIOS,
    Patch,
    PatchError,
    Step,
    decode_patch,
)

Unsigned = NDArray[np.unsignedinteger]
FORMS = {1: "i1", 2: "<f2", 4: "<f4"}
"""What elements are that are multiplied, by width."""


def apply_patch(patch: bytes, base: bytes, length: int) -> bytes:
    """Return the target.

    Args:
        patch: The patch.
        base: The file that it is for; of no matter where the patch needs none.
        length: How long the target must be; nothing longer is made or unpacked.

    Raises:
        PatchError: The patch is damaged, or for another base or target.
    """
    read = decode_patch(patch, length)
    if not read.is_for(base):
        raise PatchError("made for another base")
    return _Applier(read, base).run()


class _Applier:
    """Takes each stream from its start to its end."""

    def __init__(self, patch: Patch, base: bytes) -> None:
        self._patch, self._base = patch, base
        self._places = dict.fromkeys(patch.streams, 0)

    def run(self) -> bytes:
        out = bytearray()
        for step in self._patch.steps:
            if len(out) + step.length > self._patch.length:
                raise PatchError("makes more than it promised")
            out += self._make(step)
        left = [n for n, p in self._places.items() if p != len(self._patch.streams[n])]
        if len(out) != self._patch.length or left:
            raise PatchError("makes less than it promised")
        return bytes(out)

    def _make(self, step: Step) -> bytes:
        if not step.width:
            return self._take(NEW, step.length)
        old = self._base[max(0, step.offset) : step.offset + step.length]
        if len(old) != step.length:
            raise PatchError("reads outside of its base")
        if step.channels:
            ratios = self._take(RATIOS, RATIO_BYTES * step.channels)
            old = scaled(old, step, np.frombuffer(ratios, "<f8"))
        count = step.length // step.width
        planes = [self._take(name, count) for name in PLANES[step.width]]
        return merged(old, planes)

    def _take(self, name: str, count: int) -> bytes:
        start = self._places[name]
        self._places[name] = end = start + count
        data = self._patch.streams[name][start:end]
        if len(data) != count:
            raise PatchError(f"stream {name} ends early")
        return data


def scaled(old: bytes, step: Step, ratios: NDArray[np.float64]) -> bytes:
    """Return the step's elements, each multiplied by the ratio of its channel.

    Elements of one byte are int8, of two and four bytes floats. Calculated in float64
    and rounded once, so that every machine gets the same bytes.
    """
    kind = FORMS[step.width]
    elements = np.frombuffer(old, kind).reshape(-1, step.channels, step.inner)
    with np.errstate(all="ignore"):
        product = elements.astype(np.float64) * ratios[:, np.newaxis]
        if step.width == 1:
            product = np.clip(np.rint(np.nan_to_num(product)), -128, 127)
        return product.astype(kind).tobytes()


def merged(old: bytes, planes: list[bytes]) -> bytes:
    """Return the elements of ``old`` plus the differences in ``planes``.

    A difference of one byte is added as it is, modulo 256; wider ones have their sign
    in the lowest bit, so that small ones of either sign leave the high planes empty.
    """
    width = len(planes)
    elements = _elements(old, width)
    if width == 1:
        return (elements + _elements(planes[0], 1)).tobytes()
    mixed = np.stack([_elements(plane, 1) for plane in planes], axis=1)
    folded = _elements(mixed.tobytes(), width)
    one = folded.dtype.type(1)
    return (elements + ((folded >> one) ^ (~(folded & one) + one))).tobytes()


def split(old: bytes, new: bytes, width: int) -> list[bytes]:
    """Return the planes of which :func:`merged` makes ``new`` again."""
    difference = _elements(new, width) - _elements(old, width)
    if width == 1:
        return [difference.tobytes()]
    one, last = difference.dtype.type(1), difference.dtype.type(8 * width - 1)
    folded = (difference << one) ^ (~(difference >> last) + one)
    planes = _elements(folded.tobytes(), 1)
    return [planes[place::width].tobytes() for place in range(width)]


def _elements(data: bytes, width: int) -> Unsigned:
    return np.frombuffer(data, f"<u{width}")

"""Building patches: several ways are tried, the smallest wins.

* ``tensors``: the numbers of both files are paired tensor by tensor and stored as
  differences; the rest (tables, names) by matching.
* ``matching``: both files whole, by matching, as bsdiff does.
* ``packed``: the target alone, packed; needs no base.

Numbers of a channel often all change by one factor (a batch normalization that was
folded into a convolution, a new scale of int8 weights). Where it pays, a tensor is
stored as the ratios of its channels and what these leave over. Called by the hub for
what it publishes and by the trainer for a forecast; each patch is applied here before
it is believed.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.delta.apply import FORMS, apply_patch, scaled, split
from edge_agent.delta.match import Matcher
from edge_agent.delta.patch import (
    NEW,
    NO_BASE,
    PLANES,
    RATIOS,
    Patch,
    Step,
    encode_patch,
)
from edge_agent.delta.tflite import FLOAT16, FLOAT32, INT8, Region, read_regions

WORTH_RATIO = 0.8
"""A patch larger than this share of its target is not worth the work."""
MAX_MATCHED_BYTES = 16 << 20
"""Larger files are not matched whole: sorting their windows takes too much memory."""
RATIO_BITS = {1: 12, 2: 22, 4: 36}
"""Bits of a ratio's mantissa that are worth their place, by width of an element."""
_MANTISSA_BITS = 52
_RATIO_COST_BITS = 12
"""What a ratio costs besides its mantissa."""
_SCALABLE = {INT8, FLOAT16, FLOAT32}
_MIN_CHANNEL = 8
"""Channels with fewer elements are not worth a ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A patch and how it was made; ``base`` is empty where it needs none."""

    way: str
    base: str
    data: bytes

    def is_worth(self, target: bytes) -> bool:
        """Tell whether it saves enough of the target to be shipped instead."""
        return len(self.data) <= WORTH_RATIO * len(target)


def build_packed(target: bytes) -> Built:
    """Return the patch that needs no base."""
    steps = [Step(length=len(target))] if target else []
    return Built(way="packed", base="", data=_encode(b"", target, steps))


def build_patch(base: bytes, target: bytes) -> Built:
    """Return the smallest patch that makes ``target`` where ``base`` is."""
    packed, built = build_packed(target), build_from(base, target)
    if built is None or len(packed.data) < len(built.data):
        return packed
    return built


def build_from(base: bytes, target: bytes) -> Built | None:
    """Return the smallest patch that needs ``base``; ``None``: nothing in common."""
    plans = {"tensors": _plan_tensors(base, target)}
    if max(len(base), len(target)) <= MAX_MATCHED_BYTES:
        plans["matching"] = list(_match(Matcher(base), target, 0, len(target)))
    digest = hashlib.sha256(base).hexdigest()
    tried = [
        Built(way=way, base=digest, data=_encode(base, target, steps))
        for way, steps in plans.items()
        if any(step.width for step in steps)
    ]
    for built in sorted(tried, key=lambda one: len(one.data)):
        # What this machine cannot apply, no device is asked to.
        if apply_patch(built.data, base, len(target)) == target:
            return built
    return None


def _plan_tensors(base: bytes, target: bytes) -> list[Step]:
    """Return a plan by pairs of tensors; none if a file cannot be read."""
    pairs = _pair(read_regions(base), read_regions(target))
    if not pairs:
        return []
    rest = bytearray(base)
    for old, _ in pairs:
        # Numbers are not to be found in place of tables: blanked, they match nothing.
        rest[old.offset : old.offset + old.length] = bytes(old.length)
    matcher = Matcher(bytes(rest)) if len(base) <= MAX_MATCHED_BYTES else None
    steps: list[Step] = []
    place = 0
    for old, new in pairs:
        steps += _between(matcher, target, place, new.offset)
        steps.append(_step(base, target, old, new))
        place = new.offset + new.length
    return steps + _between(matcher, target, place, len(target))


def _between(
    matcher: Matcher | None, target: bytes, start: int, end: int
) -> list[Step]:
    if matcher is None:
        return [Step(length=end - start)] if end > start else []
    return list(_match(matcher, target, start, end))


def _match(matcher: Matcher, target: bytes, start: int, end: int) -> Iterator[Step]:
    place = start
    for run in matcher.runs(target, start, end):
        if run.start > place:
            yield Step(length=run.start - place)
        yield Step(length=run.end - run.start, width=1, offset=run.start + run.ahead)
        place = run.end
    if end > place:
        yield Step(length=end - place)


def _pair(old: Sequence[Region], new: Sequence[Region]) -> list[tuple[Region, Region]]:
    """Pair regions that are alike, in the order of the new ones.

    Among several alike the one of the same name is taken, else the first that is left:
    a converter numbers layers anew, but keeps their order.
    """
    left: dict[tuple[object, ...], list[Region]] = defaultdict(list)
    for region in old:
        left[_likeness(region)].append(region)
    names = {(_likeness(region), region.name) for region in new}
    pairs = []
    for region in new:
        alike = left[_likeness(region)]
        same = [o for o in alike if o.name == region.name]
        free = [o for o in alike if (_likeness(o), o.name) not in names] or alike
        if alike:
            chosen = (same or free)[0]
            alike.remove(chosen)
            pairs.append((chosen, region))
    return pairs


def _likeness(region: Region) -> tuple[object, ...]:
    return region.role, region.kind, region.shape, region.length


def _step(base: bytes, target: bytes, old: Region, new: Region) -> Step:
    """Return the cheapest step from one region to another."""
    plain = Step(length=new.length, width=new.width, offset=old.offset)
    x = base[old.offset : old.offset + old.length]
    y = target[new.offset : new.offset + new.length]
    if new.role != "data" or new.kind not in _SCALABLE or x == y:
        return plain
    best, best_bits = plain, _bits(x, y, new.width)
    for channels, inner in _channelings(new):
        step = replace(plain, channels=channels, inner=inner)
        bits = _bits(scaled(x, step, _ratios(x, y, step)), y, new.width)
        bits += channels * (RATIO_BITS[new.width] + _RATIO_COST_BITS)
        if bits < best_bits:
            best, best_bits = step, bits
    return best


def _channelings(region: Region) -> set[tuple[int, int]]:
    """Return in which ways elements may belong to channels: by first or last axis."""
    count = region.length // region.width
    shape = [size for size in region.shape if size > 0]
    if not shape or int(np.prod(shape)) != count:
        return set()
    ways = {(shape[0], count // shape[0]), (shape[-1], 1)}
    return {way for way in ways if way[0] * _MIN_CHANNEL <= count}


def _ratios(old: bytes, new: bytes, step: Step) -> NDArray[np.float64]:
    """Return the ratio of each channel by least squares; 1 where it is of no use."""
    x, y = (
        np.frombuffer(data, FORMS[step.width])
        .astype(np.float64)
        .reshape(-1, step.channels, step.inner)
        for data in (old, new)
    )
    with np.errstate(all="ignore"):
        ratios = (x * y).sum(axis=(0, 2)) / (x * x).sum(axis=(0, 2))
        ratios = _rounded(ratios, RATIO_BITS[step.width])
        gain = np.abs(y - x) - np.abs(y - x * ratios[:, np.newaxis])
        useful = gain.sum(axis=(0, 2)) > 0
    return np.where(useful & np.isfinite(ratios), ratios, 1.0)


def _rounded(values: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Return values with so many bits of mantissa: zeros behind them pack well."""
    unit = np.uint64(1 << (_MANTISSA_BITS - bits))
    raw = np.ascontiguousarray(values).view(np.uint64) + unit // np.uint64(2)
    return (raw & ~(unit - np.uint64(1))).view(np.float64)


def _bits(old: bytes, new: bytes, width: int) -> float:
    """Estimate how many bits a difference packs to."""
    form = f"<u{width}"
    difference = np.frombuffer(new, form) - np.frombuffer(old, form)
    if width == 1:
        counts = np.bincount(difference, minlength=256)
        shares = counts[counts > 0] / len(difference)
        return float(-(shares * np.log2(shares)).sum() * len(difference))
    sizes = np.abs(difference.view(f"<i{width}").astype(np.float64))
    return float(np.where(sizes == 0, 0.1, np.log2(np.maximum(sizes, 1)) + 2).sum())


def _encode(base: bytes, target: bytes, steps: Sequence[Step]) -> bytes:
    streams: dict[str, list[bytes]] = defaultdict(list)
    place = 0
    for step in steps:
        new = target[place : place + step.length]
        place += step.length
        if not step.width:
            streams[NEW].append(new)
            continue
        old = base[step.offset : step.offset + step.length]
        if step.channels:
            ratios = _ratios(old, new, step)
            streams[RATIOS].append(ratios.astype("<f8").tobytes())
            old = scaled(old, step, ratios)
        for name, plane in zip(
            PLANES[step.width], split(old, new, step.width), strict=True
        ):
            streams[name].append(plane)
    needs_base = any(step.width for step in steps)
    return encode_patch(
        Patch(
            base=hashlib.sha256(base).digest() if needs_base else NO_BASE,
            length=len(target),
            steps=tuple(steps),
            streams={name: b"".join(parts) for name, parts in streams.items()},
        )
    )

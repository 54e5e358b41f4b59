"""Patches give back the target, whatever the files; damaged ones give nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.delta.apply import apply_patch, merged, scaled, split
from edge_agent.delta.build import build_packed, build_patch
from edge_agent.delta.patch import PatchError, Step

FILES = st.binary(max_size=400)
PIECES = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8)


@given(FILES, FILES)
def test_patches_between_any_files(base: bytes, target: bytes) -> None:
    """Applying a patch to its base gives its target."""
    built = build_patch(base, target)

    assert apply_patch(built.data, base, len(target)) == target


@given(PIECES, st.data())
def test_patches_between_files_with_much_in_common(
    pieces: list[bytes], data: st.DataObject
) -> None:
    """Pieces may move, repeat, vanish and change, in files of repeated bytes too."""
    base = b"".join(pieces) * 4
    chosen = data.draw(st.lists(st.sampled_from(pieces), max_size=20))
    target = bytearray(b"".join(chosen))
    for place in data.draw(st.lists(st.integers(0, 2000), max_size=5)):
        if place < len(target):
            target[place] ^= 1

    built = build_patch(base, bytes(target))

    assert apply_patch(built.data, base, len(target)) == target


@given(FILES)
def test_a_packed_file_needs_no_base(target: bytes) -> None:
    """It can be applied to anything."""
    assert apply_patch(build_packed(target).data, b"else", len(target)) == target


@given(st.sampled_from([1, 2, 4]), st.data())
def test_differences_come_back(width: int, data: st.DataObject) -> None:
    """Planes of a difference restore every element, whatever its bits."""
    size = width * data.draw(st.integers(0, 40))
    old, new = (data.draw(st.binary(min_size=size, max_size=size)) for _ in range(2))

    assert merged(old, split(old, new, width)) == new


@given(st.sampled_from([1, 2, 4]), st.data())
def test_ratios_never_fail(width: int, data: st.DataObject) -> None:
    """Elements of any bits times ratios of any bits are as many elements again."""
    channels, inner, times = (data.draw(st.integers(1, 4)) for _ in range(3))
    size = width * channels * inner * times
    old = data.draw(st.binary(min_size=size, max_size=size))
    ratios = np.frombuffer(
        data.draw(st.binary(min_size=8 * channels, max_size=8 * channels)), "<f8"
    )
    step = Step(length=size, width=width, channels=channels, inner=inner)

    assert len(scaled(old, step, ratios)) == size


@settings(max_examples=300)
@given(FILES, FILES, st.data())
def test_a_damaged_patch_gives_the_target_or_an_error(
    base: bytes, target: bytes, data: st.DataObject
) -> None:
    """Never another exception, never more bytes than were asked for."""
    patch = bytearray(build_patch(base, target).data)
    for _ in range(data.draw(st.integers(1, 3))):
        patch[data.draw(st.integers(0, len(patch) - 1))] = data.draw(
            st.integers(0, 255)
        )
    cut = data.draw(st.integers(0, len(patch)))
    for damaged in (bytes(patch), bytes(patch[:cut]), bytes(patch) + b"x"):
        try:
            made = apply_patch(damaged, base, len(target))
        except PatchError:
            continue
        assert len(made) == len(target)


@given(FILES)
def test_another_length_is_refused(target: bytes) -> None:
    """A patch makes what was signed or nothing."""
    with pytest.raises(PatchError, match="were signed"):
        apply_patch(build_packed(target).data, b"", len(target) + 1)

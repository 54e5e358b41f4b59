"""Patches between model files: which way wins, and what is refused."""

import hashlib
import lzma
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edge_agent.delta.apply import apply_patch
from edge_agent.delta.build import build_packed, build_patch
from edge_agent.delta.match import Matcher
from edge_agent.delta.patch import (
    DICTIONARY_BYTES,
    HEADER,
    LZMA2,
    MAGIC,
    NO_BASE,
    STORED,
    STREAM_HEADER,
    STREAMS,
    PatchError,
)
from edge_agent.delta.tflite import Region, read_regions

# The demo's net, trained on right arms (first), then anew or fine-tuned on both.
DEMO = Path(__file__).parents[1] / "data" / "demo"
DEMO_MODELS = {path.stem: path.read_bytes() for path in sorted(DEMO.iterdir())}
FLOAT, INT8 = DEMO_MODELS["first.float32"], DEMO_MODELS["first.int8"]
MODELS = {"float": FLOAT, "int8": INT8}


def largest(model: bytes) -> Region:
    """Return the region of the most numbers."""
    return max(read_regions(model), key=lambda region: region.length)


def changed(model: bytes, region: Region, data: bytes) -> bytes:
    """Return the model with other numbers in a region."""
    end = region.offset + region.length
    return model[: region.offset] + data + model[end:]


@pytest.mark.parametrize("name", MODELS)
def test_every_number_of_a_model_is_found(name: str) -> None:
    """Most bytes of a file are in regions, and none is in two."""
    regions = read_regions(MODELS[name])

    ends = [region.offset + region.length for region in regions]
    starts = [region.offset for region in regions]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert sum(region.length for region in regions) > 0.6 * len(MODELS[name])
    weights = [r for r in regions if r.role == "data" and len(r.shape) > 1]
    assert len(weights) >= 5
    for region in weights:
        assert region.width * int(np.prod(region.shape)) == region.length
    assert name == "float" or any(r.role == "scale" for r in regions)


@pytest.mark.parametrize("name", MODELS)
def test_small_changes_of_many_numbers_make_a_small_patch(name: str) -> None:
    """Every weight changes by little: nothing is equal, but differences are small."""
    model = MODELS[name]
    region = largest(model)
    numbers = np.frombuffer(
        model[region.offset : region.offset + region.length], f"<u{region.width}"
    )
    rng = np.random.default_rng(3)
    steps = rng.choice(np.array([1, 2], numbers.dtype), len(numbers))
    target = changed(model, region, (numbers + steps).tobytes())

    built = build_patch(model, target)

    assert len(built.data) < 0.2 * len(model)
    assert apply_patch(built.data, model, len(target)) == target


def test_numbers_that_change_by_one_factor_a_channel_cost_little() -> None:
    """A batch normalization folded into a convolution does that to its weights."""
    region = largest(FLOAT)
    numbers = np.frombuffer(FLOAT, "<f4", region.length // 4, region.offset)
    rng = np.random.default_rng(4)
    factors = rng.uniform(0.5, 2, (region.shape[0], 1)).astype(np.float32)
    scaled = (numbers.reshape(region.shape[0], -1) * factors).astype("<f4")
    target = changed(FLOAT, region, scaled.tobytes())

    built = build_patch(FLOAT, target)

    assert built.way == "tensors"
    assert len(built.data) < 0.15 * region.length
    assert apply_patch(built.data, FLOAT, len(target)) == target


def test_a_moved_file_is_matched() -> None:
    """Without tensors to pair, equal runs are found wherever they are."""
    noise = np.random.default_rng(5).bytes(20_000)
    target = b"new" * 20 + noise[5_000:] + noise[:5_000]

    built = build_patch(noise, target)

    assert built.way == "matching"
    assert len(built.data) < 400
    assert built.base == hashlib.sha256(noise).hexdigest()


def test_a_run_goes_on_where_it_was() -> None:
    """Bytes that are everywhere, such as zeros, are taken from beside the last run."""
    rng = np.random.default_rng(9)
    first, change, last = rng.bytes(500), rng.bytes(3_000), rng.bytes(500)
    base = first + bytes(4_800) + last
    target = first + bytes(900) + change + bytes(900) + last

    runs = list(Matcher(base).runs(target, 0, len(target)))

    assert [run.ahead for run in runs] == [0, 0]
    assert runs[1].end == len(target)


def test_files_with_nothing_in_common_are_packed() -> None:
    """Then the patch needs no base, and says so."""
    rng = np.random.default_rng(6)
    target = rng.bytes(200) * 30

    built = build_patch(rng.bytes(5_000), target)

    assert (built.way, built.base) == ("packed", "")
    assert apply_patch(built.data, b"any", len(target)) == target


def test_building_is_repeatable() -> None:
    """The same files make the same patch, byte for byte."""
    assert build_patch(FLOAT, INT8) == build_patch(FLOAT, INT8)


def test_wrong_base_is_refused() -> None:
    """A patch names its base by digest."""
    patch = build_patch(FLOAT, FLOAT + b"more").data

    with pytest.raises(PatchError, match="another base"):
        apply_patch(patch, INT8, len(FLOAT) + 4)


@pytest.mark.parametrize("old", DEMO_MODELS)
def test_every_pair_of_the_demos_releases(old: str) -> None:
    """Whatever follows on whatever, the device gets the signed bytes."""
    base = DEMO_MODELS[old]
    for target in DEMO_MODELS.values():
        built = build_patch(base, target)
        assert apply_patch(built.data, base, len(target)) == target
        assert len(built.data) < len(target)


@pytest.mark.parametrize(
    ("old", "new", "ratio"),
    [
        ("first.float32", "bn_head.float32", 0.25),
        ("first.float32", "anew.float32", 0.75),
        ("first.int8", "head.int8", 0.18),
        ("first.int8", "bn_head.int8", 0.20),
        ("first.int8", "full.int8", 0.42),
        ("first.int8", "anew.int8", 0.52),
    ],
)
def test_what_changed_less_makes_a_smaller_patch(
    old: str, new: str, ratio: float
) -> None:
    """The demo's net, by what was trained on; the figures are in OPERATIONS."""
    target = DEMO_MODELS[new]

    assert len(build_patch(DEMO_MODELS[old], target).data) < ratio * len(target)


@pytest.mark.parametrize("place", range(0, 100, 10))
def test_damage_anywhere_is_an_error_or_harmless(place: int) -> None:
    """Wherever a byte flips: an error, or bytes of the right length to be hashed."""
    patch = bytearray(build_patch(FLOAT, INT8).data)
    patch[len(patch) * place // 100] ^= 0x55

    try:
        made = apply_patch(bytes(patch), FLOAT, len(INT8))
    except PatchError:
        return
    assert len(made) == len(INT8)


def bomb(sizes: dict[str, int], packed: bytes, length: int) -> bytes:
    """Return a patch whose streams promise ``sizes`` and hold ``packed``."""
    headers = [
        STREAM_HEADER.pack(LZMA2, sizes[name], len(packed))
        if name in sizes
        else STREAM_HEADER.pack(STORED, 0, 0)
        for name in STREAMS
    ]
    body = packed * len(sizes)
    return HEADER.pack(MAGIC, NO_BASE, length) + b"".join(headers) + body


@pytest.mark.parametrize(
    ("sizes", "match"),
    [
        ({"new": 1 << 31}, "holds"),
        ({"new": 1000, "plan": 1 << 31}, "has a plan of"),
        ({"new": 1000, "ratios": 1 << 31}, "has ratios of"),
        ({"new": 1000}, "stream new has another length"),
    ],
)
def test_a_bomb_is_never_unpacked(sizes: dict[str, int], match: str) -> None:
    """Lengths are checked before, and one byte more than promised ends it.

    What it takes meanwhile is the dictionary, not what the bomb would become.
    """
    zeros = lzma.compress(
        bytes(64 << 20),
        format=lzma.FORMAT_RAW,
        filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}],
    )

    patch = bomb(sizes, zeros, 1000)
    tracemalloc.start()
    try:
        with pytest.raises(PatchError, match=match):
            apply_patch(patch, b"", 1000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2 * DICTIONARY_BYTES


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", bytes(64), bytes(range(256)), INT8[:700], b"\xff" * 4096]
)
def test_what_is_no_model_has_no_regions(data: bytes) -> None:
    """The reader of a file that nobody vouches for raises nothing."""
    read_regions(data)
    built = build_patch(data, INT8)
    assert apply_patch(built.data, data, len(INT8)) == INT8


def test_a_damaged_model_is_read_or_not_but_never_raises() -> None:
    """Offsets and lengths may say anything."""
    rng = np.random.default_rng(8)
    for _ in range(300):
        damaged = bytearray(INT8)
        for place in rng.integers(0, len(damaged), 20):
            damaged[place] = rng.integers(0, 256)
        for region in read_regions(bytes(damaged)):
            assert 0 <= region.offset <= region.offset + region.length <= len(INT8)


def test_packed_is_what_lzma_makes() -> None:
    """Beside the headers nothing is added."""
    assert len(build_packed(bytes(10_000)).data) < 250

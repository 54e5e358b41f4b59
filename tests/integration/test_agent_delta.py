"""Models from patches on a device: real TUF, real HTTP, a real process that patches.

Whatever is wrong with a patch, the release is activated all the same.
"""

import logging
import lzma
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from edge_agent.delta.build import build_packed, build_patch
from edge_agent.delta.patch import HEADER, LZMA2, MAGIC, NO_BASE, STREAM_HEADER, STREAMS
from edge_agent.errors import UpdateError
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.update import patching
from edge_agent.update.delta import DELTA_FAILED
from edge_agent.update.download import NO_SPACE, check_space
from edge_agent.update.patching import (
    Patching,
    PatchingError,
    PatchingInterruptedError,
    stream_patched,
)
from edge_agent.update.runner import UPDATE_WAITING
from edge_agent.wire.manifest import FileRef
from tests.fakes.delta_device import DeltaDevice
from tests.fakes.tuf_repository import sha256_of

Damage = Callable[[bytes], bytes]


@pytest.fixture
def device(tmp_path: Path) -> DeltaDevice:
    """Return a device on release 1."""
    device = DeltaDevice(tmp_path / "state")
    device.activate(device.releases[0])
    device.fetched.clear()
    return device


def test_a_patch_is_fetched_instead_of_the_model(device: DeltaDevice) -> None:
    """The model is made of patch and base; the hub learns what was saved."""
    patch = build_patch(device.base, device.target).data
    device.sign_patch(patch)

    device.activate(device.releases[1])

    assert sha256_of(patch) in device.fetched
    assert sha256_of(device.target) not in device.fetched
    assert device.told == []
    saving = f"model.tflite by delta: {len(patch)} of {len(device.target)} bytes"
    assert saving in device.details()
    left = {path.name for path in (device.home / "artifacts").iterdir()}
    assert sha256_of(patch) not in left
    assert not [name for name in left if name.endswith(".part")]


def test_a_patch_without_base_helps_a_device_without_a_model(tmp_path: Path) -> None:
    """A new device fetches the packed model."""
    device = DeltaDevice(tmp_path / "state")
    packed = build_packed(device.target).data
    device.sign_patch(packed, b"")

    device.activate(device.releases[1])

    assert sha256_of(device.target) not in device.fetched
    assert device.told == []


def test_the_smallest_patch_is_taken(device: DeltaDevice) -> None:
    """Of two that fit, the larger one is not even asked for."""
    small = build_patch(device.base, device.target).data
    large = build_packed(device.target).data
    device.sign_patch(large, b"")
    device.sign_patch(small)

    device.activate(device.releases[1])

    assert sha256_of(small) in device.fetched
    assert sha256_of(large) not in device.fetched


def test_what_a_person_brought_needs_no_patch(device: DeltaDevice) -> None:
    """The whole model is there: nothing of it is asked for over the network."""
    patch = build_patch(device.base, device.target).data
    device.sign_patch(patch)
    brought = device.home / "brought"
    brought.mkdir()
    (brought / sha256_of(device.target)).write_bytes(device.target)

    device.activate(device.releases[1])

    assert {sha256_of(patch), sha256_of(device.target)}.isdisjoint(device.fetched)
    assert device.told == []
    assert list(brought.iterdir()) == []


def test_a_patch_for_another_base_is_never_asked_for(device: DeltaDevice) -> None:
    """Patches are named after their base."""
    patch = build_patch(b"other" * 999, device.target).data
    device.sign_patch(patch, b"other" * 999)

    device.activate(device.releases[1])

    assert sha256_of(patch) not in device.fetched
    assert device.told == []


def expect_fallback(device: DeltaDevice) -> None:
    """Activate release 2: by the whole file, with one report of why."""
    device.activate(device.releases[1])

    assert sha256_of(device.target) in device.fetched
    assert [error.code for error in device.told] == [DELTA_FAILED]
    assert device.told[0].text.startswith("delta_failed: ")
    assert not any("delta" in detail for detail in device.details())


def flip(share: float) -> Damage:
    """Return what flips a byte at a share of a patch's length."""

    def damage(patch: bytes) -> bytes:
        place = int(share * (len(patch) - 1))
        return patch[:place] + bytes([patch[place] ^ 0xA5]) + patch[place + 1 :]

    return damage


def bomb(patch: bytes) -> bytes:
    """Return a small patch of the same promise that unpacks to 128 MiB."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    zeros = lzma.compress(bytes(128 << 20), lzma.FORMAT_RAW, filters=filters)
    length = HEADER.unpack_from(patch)[2]
    headers = b"".join(
        STREAM_HEADER.pack(
            *((LZMA2, length, len(zeros)) if name == "new" else (0, 0, 0))
        )
        for name in STREAMS
    )
    return HEADER.pack(MAGIC, NO_BASE, length) + headers + zeros


DAMAGES: dict[str, Damage] = {
    **{f"flipped at {place} %": flip(place / 100) for place in (0, 30, 60, 100)},
    "no first byte": lambda patch: patch[1:],
    "half": lambda patch: patch[: len(patch) // 2],
    "one byte short": lambda patch: patch[:-1],
    "one byte more": lambda patch: patch + b"x",
    "empty": lambda _: b"",
    "noise": lambda patch: bytes(range(256)) * (len(patch) // 256),
    "of another base": lambda _: build_patch(b"x" * 9000, b"x" * 9000).data,
    "another target": lambda patch: patch.replace(b"SHOALDP1", b"SHOALDP9"),
    "bomb": bomb,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_bad_patch_costs_the_patch_and_nothing_else(
    device: DeltaDevice, name: str
) -> None:
    """Validly signed, but wrong: the whole file comes and the release is activated."""
    good = build_patch(device.base, device.target).data
    device.sign_patch(DAMAGES[name](good))

    expect_fallback(device)


def test_a_patch_to_something_else_is_found_out(
    device: DeltaDevice, caplog: pytest.LogCaptureFixture
) -> None:
    """What it makes is hashed, whoever signed the patch, and not taken for a part."""
    caplog.set_level(logging.INFO)
    other = bytearray(device.target)
    other[1000] ^= 1
    device.sign_patch(build_patch(device.base, bytes(other)).data)

    expect_fallback(device)

    assert UPDATE_WAITING not in caplog.text


def test_a_patch_that_failed_is_not_tried_again(device: DeltaDevice) -> None:
    """The whole file is late: that is no reason to fetch the patch twice."""
    patch = build_patch(device.base, device.target).data[:-1]
    device.sign_patch(patch)
    model = sha256_of(device.target)
    del device.artifacts[model]

    def come(asked: str) -> None:
        if asked == model and device.fetched.count(model) > 1:
            device.artifacts[model] = device.target

    device.on_ask = come

    expect_fallback(device)

    assert device.fetched.count(sha256_of(patch)) == 1


def test_a_damaged_base_is_found_out(device: DeltaDevice) -> None:
    """The base is hashed before it is used, as the disk may have changed it."""
    patch = build_patch(device.base, device.target).data
    device.sign_patch(patch)
    path = device.store.path(sha256_of(device.base))

    def damage(asked: str) -> None:
        if asked == sha256_of(patch):
            path.write_bytes(path.read_bytes()[:-1] + b"x")

    device.on_ask = damage

    expect_fallback(device)


def test_a_patch_that_the_hub_does_not_have(device: DeltaDevice) -> None:
    """It is signed but not there: no reason to wait for it."""
    patch = build_patch(device.base, device.target).data
    device.sign_patch(patch)
    del device.artifacts[sha256_of(patch)]

    expect_fallback(device)


def test_a_part_that_is_nearly_complete_is_finished(device: DeltaDevice) -> None:
    """What is left of the whole file may be less than a patch."""
    patch = build_patch(device.base, device.target).data
    device.sign_patch(patch)
    part = device.store.part_path(sha256_of(device.target))
    part.write_bytes(device.target[:-100])

    device.activate(device.releases[1])

    assert sha256_of(patch) not in device.fetched
    assert device.told == []


class Disk(NamedTuple):
    """What ``shutil.disk_usage`` tells."""

    total: int
    used: int
    free: int


def test_room_for_patch_and_model_is_checked_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both and ten percent must be free; what is there already counts as there."""
    store = ArtifactStore(tmp_path)
    model = FileRef(name="model.tflite", sha256="ab" * 32, bytes=10_000_000)
    part = store.part_path(model.sha256)
    spare = 1 << 20

    def free(count: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(1, 1, count))

    free(11_000_000 + spare)
    check_space(part, model)
    with pytest.raises(UpdateError) as error:
        check_space(part, model, beside=1_000_000)
    free(12_100_000 + spare)
    check_space(part, model, beside=1_000_000)
    part.write_bytes(bytes(2_000_000))
    free(9_000_000 + spare)
    check_space(part, model)

    assert error.value.code == NO_SPACE
    assert error.value.retryable


def test_without_room_for_both_the_whole_file_is_fetched(
    device: DeltaDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patch needs room beside the model that it makes."""
    patch = build_patch(device.base, device.target).data
    device.sign_patch(patch)
    whole = len(device.target)
    free = whole + whole // 10 + (1 << 20) + len(patch) // 2
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(1, 1, free))

    expect_fallback(device)

    assert NO_SPACE in device.told[0].text
    assert sha256_of(patch) not in device.fetched


def test_a_full_disk_is_told_once_and_waited_for(
    device: DeltaDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing against a release: with room again, the activation goes on."""
    looks = iter([0, 0, 0])
    roomy = shutil.disk_usage

    def usage(path: Path) -> Disk:
        return Disk(1, 1, next(looks, roomy(path).free))

    monkeypatch.setattr(shutil, "disk_usage", usage)

    device.activate(device.releases[1])

    assert [error.code for error in device.told] == [NO_SPACE]


@pytest.fixture
def job(tmp_path: Path) -> Patching:
    """Return something to patch."""
    base, target = bytes(range(256)) * 99, bytes(range(255)) * 99
    (tmp_path / "base").write_bytes(base)
    (tmp_path / "patch").write_bytes(build_patch(base, target).data)
    return Patching(
        patch=tmp_path / "patch", base=tmp_path / "base", length=len(target)
    )


def test_patching_is_interrupted_at_once(job: Patching) -> None:
    """Something more urgent never waits for a patch."""
    with pytest.raises(PatchingInterruptedError):
        list(stream_patched(job, interrupted=lambda: True))


def test_a_process_that_writes_too_much_is_stopped(job: Patching) -> None:
    """The parent counts; it asked for one byte less."""
    short = Patching(patch=job.patch, base=job.base, length=job.length)
    assert sum(map(len, stream_patched(short, interrupted=bool))) == job.length
    process = subprocess.Popen(
        [sys.executable, "-c", "print('x' * 999)"], stdout=subprocess.PIPE
    )
    with process, pytest.raises(PatchingError, match="more than was signed"):
        list(patching._read_all(process, 999, bool))


def test_a_process_that_does_not_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its processor time is limited inside it; here that of the wall is."""
    monkeypatch.setattr(patching, "WALL_S", 0.3)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    with process:
        with pytest.raises(PatchingError, match=r"no end within 0\.3 s"):
            list(patching._read_all(process, 9, bool))
        process.kill()


def test_a_patch_is_read_in_a_limited_process(tmp_path: Path) -> None:
    """It is about to read the patch when it has bound itself."""
    fifo = tmp_path / "patch"
    os.mkfifo(fifo)
    words = [sys.executable, "-m", patching.MODULE, patching.NO_BASE, str(fifo), "9"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process, fifo.open("wb"):  # Opening waits for who reads.
        limits = Path(f"/proc/{process.pid}/limits").read_text("ascii")
    assert process.returncode == 1
    found = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
    assert found["Max cpu time"] == str(patching.CPU_S)
    assert found["Max file size"] == "0"
    assert found["Max core file size"] == "0"
    most = patching.MEMORY_BYTES + patching.MEMORY_TIMES * 9
    assert found["Max address space"] == str(most)


@pytest.mark.parametrize("lost", ["patch", "base"])
def test_a_process_that_dies_is_an_outcome(job: Patching, lost: str) -> None:
    """A file that is not there any more ends the process, not the agent."""
    (job.patch.parent / lost).unlink()

    with pytest.raises(PatchingError, match="its process exited with 1"):
        list(stream_patched(job, interrupted=bool))

"""Where the ring's memory is, and what is done with a file that is not ours."""

import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from edge_agent.base.settings import SettingsError
from edge_agent.config import EvidenceConfig, read_agent_config
from edge_agent.evidence.layout import HEADER_BYTES
from edge_agent.evidence.memory import (
    BAD_FILE,
    NO_RING,
    RING_FILE,
    SET_ASIDE,
    EvidenceMemory,
    open_memory,
)
from edge_agent.evidence.recorder import Recorder
from edge_agent.evidence.ring import Ring
from edge_agent.evidence.ring_writer import RingWriter
from tests.fakes.ring_memory import Clock, contract, offer

SIZE = 64 << 10
DISK = EvidenceConfig(keep="disk", max_bytes=SIZE)
OTHER_USER = 12345


def _filled(memory: EvidenceMemory) -> None:
    recorder = Recorder(RingWriter.attach(memory.fd), Random(1), Clock().mono)
    recorder.follow([contract(4)], stateful=False)
    for value in range(9):
        offer(recorder, "a", np.full(4, value, np.float32))


def _kept(memory: EvidenceMemory) -> int:
    return len(Ring.attach(memory.fd).samples())


def test_in_memory_mode_no_file_is_written(tmp_path: Path) -> None:
    """The ring has no name, and an older ring on disk is removed."""
    (tmp_path / RING_FILE).write_bytes(b"samples")
    (tmp_path / BAD_FILE).write_bytes(b"samples")
    memory = open_memory(EvidenceConfig(), tmp_path)
    _filled(memory)
    assert _kept(memory) == 9
    assert not memory.problem
    assert list(tmp_path.iterdir()) == []
    assert not os.get_inheritable(memory.fd)
    os.close(memory.fd)


def test_off_there_is_no_ring_and_no_problem(tmp_path: Path) -> None:
    """What an earlier setting kept is removed."""
    (tmp_path / RING_FILE).write_bytes(b"samples")
    assert open_memory(EvidenceConfig(keep="off"), tmp_path) == EvidenceMemory()
    assert list(tmp_path.iterdir()) == []


def test_on_disk_the_ring_survives_a_restart(tmp_path: Path) -> None:
    """Its file is for the owner alone, with all of its blocks."""
    first = open_memory(DISK, tmp_path)
    _filled(first)
    os.close(first.fd)
    found = (tmp_path / RING_FILE).stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_size == SIZE
    second = open_memory(DISK, tmp_path)
    assert not second.problem
    assert _kept(second) == 9
    os.close(second.fd)


def _damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(20)
        file.write(b"\xff")


def _other_version(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(8)
        file.write(b"\x63")


def _symlink(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "torn header": (_damage, "header is damaged"),
    "another version": (_other_version, "header is damaged, or of another version"),
    "cut": (lambda path: os.truncate(path, SIZE - 1), "it has 65535 bytes"),
    "grown": (lambda path: os.truncate(path, 2 * SIZE), "it has 131072 bytes"),
    "empty": (lambda path: os.truncate(path, 0), "it has 0 bytes"),
    "noise": (lambda path: path.write_bytes(os.urandom(SIZE)), "header is damaged"),
    "readable by others": (lambda path: path.chmod(0o640), "others may open it"),
    "symbolic link": (_symlink, "it is a symbolic link"),
    "hard link": (lambda p: p.with_name("b").hardlink_to(p), "it has other names"),
    "folder": (_folder, "it is a folder"),
    "pipe": (_fifo, "it is no regular file"),
    "another user's": (
        lambda path: os.chown(path, OTHER_USER, -1),
        f"it belongs to user {OTHER_USER}",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_not_ours_is_set_aside(tmp_path: Path, name: str) -> None:
    """It is renamed, never read; a fresh ring begins, and why is said with a code."""
    make, why = BAD[name]
    if name == "another user's" and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    first = open_memory(DISK, tmp_path)
    _filled(first)
    os.close(first.fd)
    (tmp_path / BAD_FILE).write_bytes(b"older")
    if name == "folder":
        (tmp_path / BAD_FILE).unlink()
    make(tmp_path / RING_FILE)
    memory = open_memory(DISK, tmp_path)
    assert why in memory.problem
    assert memory.code == SET_ASIDE
    assert memory.fd >= 0
    assert _kept(memory) == 0
    assert (tmp_path / BAD_FILE).lstat().st_ino
    assert stat.S_ISREG((tmp_path / RING_FILE).lstat().st_mode)
    _filled(memory)
    assert _kept(memory) == 9
    os.close(memory.fd)


def test_what_was_readable_by_others_is_so_no_more(tmp_path: Path) -> None:
    """A ring that is set aside still holds samples."""
    os.close(open_memory(DISK, tmp_path).fd)
    (tmp_path / RING_FILE).chmod(0o666)
    os.close(open_memory(DISK, tmp_path).fd)
    assert stat.S_IMODE((tmp_path / BAD_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("keep", ["memory", "disk"])
def test_without_room_the_agent_goes_on_without(tmp_path: Path, keep: str) -> None:
    """No room for memory or file: no ring, a reason, and nothing left behind."""
    code = f"""
import resource
from pathlib import Path
from edge_agent.config import EvidenceConfig
from edge_agent.evidence.memory import open_memory
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
memory = open_memory(EvidenceConfig(keep={keep!r}), Path({str(tmp_path)!r}))
print(memory.fd, memory.code, memory.problem)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith(f"-1 {NO_RING} no ring of own inputs")
    assert list(tmp_path.iterdir()) == []


def test_without_descriptors_the_agent_goes_on_without(tmp_path: Path) -> None:
    """Whatever the system refuses is said, and never raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        made = [open_memory(one, tmp_path) for one in (EvidenceConfig(), DISK)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [(one.fd, one.code) for one in made] == [(-1, NO_RING)] * 2


def test_a_full_disk_leaves_no_half_ring(tmp_path: Path) -> None:
    """On a file system that is full, the ring is not begun at all."""
    folder = tmp_path / "small"
    folder.mkdir()
    umount = shutil.which("umount") or "umount"
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        memory = open_memory(DISK, folder)
        assert (memory.fd, memory.code) == (-1, NO_RING)
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run([umount, str(folder)], check=True)


@pytest.mark.parametrize("line", ["max_bytes = 65535", "max_bytes = 67108865"])
def test_sizes_out_of_bounds_are_refused(tmp_path: Path, line: str) -> None:
    """From 64 KiB to 64 MiB."""
    text = f'[device]\nid="d"\n[trust]\nroot=""\n[evidence]\n{line}\n'
    (tmp_path / "agent.toml").write_text(text)
    with pytest.raises(SettingsError, match="max_bytes"):
        read_agent_config(tmp_path / "agent.toml")


def test_a_fresh_ring_on_disk_is_blank(tmp_path: Path) -> None:
    """It is usable as it is: an agent that never had a model sets nothing aside."""
    os.close(open_memory(DISK, tmp_path).fd)
    again = open_memory(DISK, tmp_path)
    assert not again.problem
    assert not any(os.pread(again.fd, HEADER_BYTES, 0))
    os.close(again.fd)


def test_the_supervisors_side_loads_no_numpy() -> None:
    """What opens the memory is light: the supervisor keeps it for life."""
    code = "import sys, edge_agent.evidence.memory; print('numpy' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"

"""The memory of the ring: made and held by the supervisor, which never looks inside.

In memory it is a ``memfd``: it survives the worker and every swap, and ends with the
agent without ever touching a disk. On disk it is one file that only its owner may read.
A file that is not certainly ours is set aside, never followed and never written to.
Whatever goes wrong, the agent starts: without a ring, and it says so. Without NumPy.
"""

import contextlib
import errno
import fcntl
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config import EvidenceConfig
from edge_agent.evidence.layout import HEADER_BYTES, is_blank, read_header

RING_FILE = "evidence.ring"
BAD_FILE = "evidence.ring.bad"
RING_PROBLEM = "evidence.problem"
SET_ASIDE = "AGENT-EVIDENCE-002"
NO_RING = "AGENT-EVIDENCE-003"
_MODE = 0o600
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceMemory:
    """A descriptor of the ring's memory, for the life of the agent.

    Attributes:
        fd: What the worker and paired tests map; -1: there is none.
        problem: Why there is none, or what was set aside; empty: nothing.
        code: The stable code of the problem.
    """

    fd: int = -1
    problem: str = ""
    code: str = ""

    @property
    def fds(self) -> tuple[int, ...]:
        """What a process that maps the ring must be passed; empty: there is none."""
        return (self.fd,) if self.fd >= 0 else ()


NO_MEMORY = EvidenceMemory()


def open_memory(config: EvidenceConfig, state_dir: Path) -> EvidenceMemory:
    """Return the ring's memory; it never raises because of the ring.

    Unless it is kept on disk, files of an earlier setting are removed.
    """
    try:
        if config.keep == "disk":
            memory = _on_disk(state_dir / RING_FILE, config.max_bytes)
        else:
            left = _forget_old(state_dir)
            fd = -1 if config.keep == "off" else _in_memory(config.max_bytes)
            memory = EvidenceMemory(fd=fd, problem=left, code=SET_ASIDE if left else "")
    except OSError as error:
        memory = EvidenceMemory(
            problem=f"no ring of own inputs, paired tests are inconclusive: {error}",
            code=NO_RING,
        )
    if memory.problem:
        log.warning(
            RING_PROBLEM, extra={"code": memory.code, "problem": memory.problem}
        )
    return memory


def forget_files(state_dir: Path, *names: str) -> None:
    """Remove files of the ring that should not be there.

    Raises:
        OSError: One is there and cannot be removed.
    """
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            (state_dir / name).unlink()


def _forget_old(state_dir: Path) -> str:
    try:
        forget_files(state_dir, RING_FILE, BAD_FILE)
    except OSError as error:
        return f"a ring of an earlier setting cannot be removed: {error}"
    return ""


def _in_memory(size: int) -> int:
    fd = os.memfd_create("shoal-evidence", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        # A map of what was cut off would kill the worker. Kernels before 3.17 have no
        # seals; there nobody but us has the descriptor either.
        with contextlib.suppress(OSError):
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(fd)
        raise
    return fd


def _on_disk(path: Path, size: int) -> EvidenceMemory:
    problem = ""
    try:
        fd, why = _open_own(path, size)
        if not why:
            return EvidenceMemory(fd=fd)
        problem = _set_aside(path, fd, why)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.EISDIR, errno.EACCES, errno.ENXIO}:
            raise
        problem = _set_aside(path, -1, _NOT_OURS[error.errno])
    code = SET_ASIDE if problem else ""
    return EvidenceMemory(fd=_create(path, size), problem=problem, code=code)


_NOT_OURS = {
    errno.ELOOP: "it is a symbolic link",
    errno.EISDIR: "it is a folder",
    errno.EACCES: "it may not be opened",
    errno.ENXIO: "it is no regular file",
}


def _open_own(path: Path, size: int) -> tuple[int, str]:
    """Return the descriptor of a file, and why it is not used, or ""."""
    fd = os.open(path, _OPEN)
    try:
        return fd, _why_not(fd, size)
    except OSError:
        os.close(fd)
        raise


def _why_not(fd: int, size: int) -> str:
    found = os.fstat(fd)
    facts = (
        (not stat.S_ISREG(found.st_mode), "it is no regular file"),
        (found.st_uid != os.geteuid(), f"it belongs to user {found.st_uid}"),
        (stat.S_IMODE(found.st_mode) & 0o077, "others may open it"),
        (found.st_nlink != 1, "it has other names"),
        (found.st_size != size, f"it has {found.st_size} bytes, not {size}"),
    )
    why = next((text for is_so, text in facts if is_so), "")
    if why:
        return why
    header = os.pread(fd, HEADER_BYTES, 0)
    if is_blank(header) or read_header(header, size) is not None:
        return ""
    return "its header is damaged, or of another version"


def _set_aside(path: Path, fd: int, why: str) -> str:
    """Rename what is no ring of ours; return what is said of it."""
    if fd >= 0:
        # It may hold samples: from now on they are for the owner alone.
        found = os.fstat(fd)
        if found.st_uid == os.geteuid() and found.st_nlink == 1:
            os.fchmod(fd, _MODE)
        os.close(fd)
    path.replace(path.with_name(BAD_FILE))
    return f"{path.name} was set aside as {BAD_FILE}: {why}; a new one was begun"


def _create(path: Path, size: int) -> int:
    fd = os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, _MODE)
    try:
        # With its blocks: a full disk must not kill who writes to the map later.
        os.posix_fallocate(fd, 0, size)
    except OSError:
        os.close(fd)
        path.unlink()
        raise
    return fd

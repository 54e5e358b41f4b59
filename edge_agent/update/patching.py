"""Applying a patch in a process of its own, so that no patch can harm the agent.

``python -m edge_agent.update.patching BASE PATCH LENGTH`` reads two files and writes
the target to standard output; it may write no file, and processor time and memory are
limited. Why it could not is a line on standard error. numpy is loaded here only: it
would stay in the agent for ever.

The parent's half (:func:`stream_patched`) believes nothing: it stops what is too long
and leaves it to the caller to hash what came.
"""

import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MODULE = "edge_agent.update.patching"
CHUNK_BYTES = 64 << 10
CPU_S = 60
WALL_S = 180.0
POLL_S = 0.2
MEMORY_BYTES = 1 << 30
MEMORY_TIMES = 8
"""Of address space: a process with numpy, and so many times base and target."""
NO_BASE = "-"


class PatchingError(Exception):
    """The patch could not be applied; the text says why."""


class PatchingInterruptedError(Exception):
    """It was asked to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patching:
    """What to do: a patch, the file that it is for, and how long the target must be."""

    patch: Path
    base: Path | None
    length: int


def stream_patched(
    patching: Patching, *, interrupted: Callable[[], bool]
) -> Iterator[bytes]:
    """Yield the target in pieces; it is complete when this returns.

    Raises:
        PatchingError: The patch does not fit, or its process died or took too long.
        PatchingInterruptedError: ``interrupted`` said so.
    """
    base = NO_BASE if patching.base is None else str(patching.base)
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, base, str(patching.patch), str(patching.length)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        yield from _read_all(process, patching.length, interrupted)
        _require_success(process)
    finally:
        process.kill()
        process.communicate()


def _read_all(
    process: subprocess.Popen[bytes], length: int, interrupted: Callable[[], bool]
) -> Iterator[bytes]:
    if process.stdout is None:
        raise PatchingError("the process has no output")
    pipe = process.stdout.fileno()
    deadline = time.monotonic() + WALL_S
    left = length
    while True:
        if interrupted():
            raise PatchingInterruptedError
        if time.monotonic() > deadline:
            raise PatchingError(f"no end within {WALL_S:g} s")
        if not select.select([pipe], [], [], POLL_S)[0]:
            continue
        chunk = os.read(pipe, CHUNK_BYTES)
        if not chunk:
            return
        left -= len(chunk)
        if left < 0:
            raise PatchingError("makes more than was signed")
        yield chunk


def _require_success(process: subprocess.Popen[bytes]) -> None:
    _, err = process.communicate()
    if process.returncode == 0:
        return
    said = err.decode(errors="replace").strip().splitlines()[-1:]
    how = f"exited with {process.returncode}"
    if process.returncode < 0:
        how = f"died of signal {-process.returncode}"
    raise PatchingError(": ".join([f"its process {how}", *said])[:500])


def _limit(memory: int) -> None:
    """Bound this process; it may write no file at all."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(argv: list[str]) -> int:
    """Write the target to standard output; return the exit code."""
    base, patch, length = argv[0], Path(argv[1]), int(argv[2])
    have = b"" if base == NO_BASE else Path(base).read_bytes()
    _limit(MEMORY_BYTES + MEMORY_TIMES * (len(have) + length))
    from edge_agent.delta.apply import apply_patch
    from edge_agent.delta.patch import PatchError

    try:
        target = apply_patch(patch.read_bytes(), have, length)
    except (PatchError, MemoryError) as error:
        sys.stderr.write(f"{str(error) or 'out of memory'}\n")
        return 1
    sys.stdout.buffer.write(target)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

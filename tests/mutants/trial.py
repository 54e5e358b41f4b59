"""The self-test of a mutant: in a fresh process, or in a forked one for the many.

A fresh Python costs a third of a second. Blind mutants mostly fail where the file is
read, so they are judged by the same ``main`` in a process that is forked, before any
model is loaded, from one that has imported everything; what dies or hangs there is
judged again in a fresh one. ``python -m tests.mutants.trial`` reads lines ``RELEASE
STATE_DIR`` and answers each with one line of JSON.
"""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.update import selftest

ALARM_S = int(selftest.WALL_S)


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a forked self-test ended."""

    returncode: int
    out: bytes
    err: bytes


class Nursery:
    """A process from which self-tests are forked."""

    def __init__(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutants.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )

    def judge(self, state_dir: Path, release: int) -> selftest.Verdict:
        """Return the verdict of the self-test of a release."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{release} {state_dir}\n".encode())
        process.stdin.flush()
        ended = msgspec.json.decode(process.stdout.readline(), type=Ended)
        if ended.returncode == -signal.SIGALRM:
            return selftest.Verdict(ok=False, code=selftest.HUNG, detail="hung")
        return selftest._read_verdict(ended.returncode, ended.out, ended.err)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def judge_afresh(state_dir: Path, release: int) -> selftest.Verdict:
    """Return the verdict of the agent's own self-test, in its own fresh process."""
    verdict = selftest.spawn_self_test(state_dir, release, interrupted=lambda: False)
    assert verdict is not None
    return verdict


def _fork(release: str, state_dir: str, files: tuple[Any, Any]) -> Ended:
    for file in files:
        file.seek(0)
        file.truncate()
    pid = os.fork()
    if not pid:
        signal.alarm(ALARM_S)
        for file, number in zip(files, (1, 2), strict=True):
            os.dup2(file.fileno(), number)
        code = 1
        try:
            code = selftest.main([state_dir, release])
            sys.stdout.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    out, err = (os.pread(file.fileno(), 1 << 16, 0) for file in files)
    return Ended(returncode=os.waitstatus_to_exitcode(status), out=out, err=err)


def main() -> int:
    """Serve until standard input ends."""
    import tempfile

    import numpy as np

    from edge_agent.runtime import litert

    litert._runtime()
    np.zeros(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        for line in sys.stdin:
            release, _, state_dir = line.rstrip("\n").partition(" ")
            ended = _fork(release, state_dir, (out, err))
            sys.stdout.buffer.write(msgspec.json.encode(ended) + b"\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

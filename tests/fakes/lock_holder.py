"""Another process that holds a lock: of a file, or SQLite's write lock."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

_HOLD = """
import fcntl, sqlite3, sys
path, how = sys.argv[1:]
if how == "write":
    held = sqlite3.connect(path, isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
else:
    held = open(path, "ab")
    fcntl.flock(held, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(path: Path, how: Literal["write", "flock"]) -> Iterator[int]:
    """Hold a lock in a process of its own; yield its process id."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process.pid
        finally:
            process.communicate()

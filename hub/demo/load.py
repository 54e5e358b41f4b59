"""Work that keeps every core busy, as other programs on the machine would.

As a program (``python -m hub.demo.load PARENT``) this is one busy loop at normal
priority. It ends with its parent, also one that was killed.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hub.demo.processes import Processes

_ROUNDS = 1_000_000


@contextmanager
def busy_cores(folder: Path) -> Iterator[list[int]]:
    """Keep each core that this process may use busy; gives the ids of the loops.

    ``folder`` takes their output. They are ended on the way out, by their ids.
    """
    with Processes(folder) as processes:
        for core in range(len(os.sched_getaffinity(0))):
            processes.start(
                f"load-{core}",
                [sys.executable, "-m", "hub.demo.load", str(os.getpid())],
            )
        yield processes.running()


def burn(parent: int) -> None:
    """Count and count for as long as ``parent`` is this process's parent."""
    while os.getppid() == parent:
        for _ in range(_ROUNDS):
            pass


if __name__ == "__main__":
    burn(int(sys.argv[1]))

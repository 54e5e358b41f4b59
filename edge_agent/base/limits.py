"""What a process may take of the machine, set by the process itself.

The worker calls it before it loads a model. Address space is not limited: thread
stacks and allocator arenas reserve 24 times what a worker really uses (1,302 MiB for
54), so a bound on it means nothing. ``RLIMIT_DATA`` counts what can be written to.
"""

import contextlib
import resource
from pathlib import Path

OOM_SCORE = Path("/proc/self/oom_score_adj")
FIRST_TO_GO = 500
STACK_BYTES = 1 << 20
"""Stack of a thread. The system's 8 MiB would count against the limit, sixteen-fold."""


def limit_memory(limit_bytes: int) -> None:
    """Let allocations beyond a limit fail (0: no limit).

    Args:
        limit_bytes: Private writable memory of the process, stacks included.
    """
    if limit_bytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            limit_bytes = min(limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))


def go_first_when_memory_ends() -> None:
    """Ask the kernel to end this process rather than the one that started it."""
    with contextlib.suppress(OSError):
        OOM_SCORE.write_text(str(FIRST_TO_GO), "ascii")

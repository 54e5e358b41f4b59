"""What the kernel says of a process."""

from pathlib import Path


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def family_rss_bytes(pid: int) -> int:
    """Return the resident memory of a process and all its descendants."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = {int(one) for task in tasks for one in task.read_text("utf-8").split()}
    return rss_bytes(pid) + sum(family_rss_bytes(child) for child in children)

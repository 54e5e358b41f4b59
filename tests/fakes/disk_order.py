"""Whether a file is on the disk before it has its name, and its name afterwards.

A power cut keeps what was synced, so a new file has to be synced before the rename that
gives it its name, and the folder after it. Renames are heard as audit events, syncs
where they are called.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Event = tuple[str, str]

_hearing: list[list[Event]] = []


def _hear(name: str, args: tuple[object, ...]) -> None:
    if name == "os.rename" and _hearing:
        for events in _hearing:
            events.append(("from", str(args[0])))
            events.append(("rename", str(args[1])))


sys.addaudithook(_hear)  # For good: hooks cannot be removed.


@contextmanager
def recorded(patch: pytest.MonkeyPatch) -> Iterator[list[Event]]:
    """Record syncs and renames of this process, in order."""
    events: list[Event] = []
    real = os.fsync

    def sync(handle: int) -> None:
        events.append(("sync", str(Path(f"/proc/self/fd/{handle}").readlink())))
        real(handle)

    patch.setattr(os, "fsync", sync)
    _hearing.append(events)
    try:
        yield events
    finally:
        _hearing.remove(events)
        patch.setattr(os, "fsync", real)


def faults(events: list[Event], folder: Path) -> list[str]:
    """Return what a power cut could tear of the names that were given in a folder."""
    found = []
    renames = [n for n, (kind, _) in enumerate(events) if kind == "rename"]
    for place in renames:
        source, target = events[place - 1][1], events[place][1]
        if Path(target).parent != folder:
            continue
        if source == target:
            found.append(f"{target} is written in its place")
        if ("sync", source) not in events[:place]:
            found.append(f"{target} has its name before it is on the disk")
        if ("sync", str(folder)) not in events[place:]:
            found.append(f"the name of {target} is not on the disk")
    if not any(Path(events[n][1]).parent == folder for n in renames):
        found.append(f"nothing got its name in {folder}")
    return found

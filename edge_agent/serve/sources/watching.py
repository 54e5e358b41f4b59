"""Which file of a folder is complete, and what becomes of it afterwards.

A writer may write in place, or under a name that is not looked at (a leading dot, or
``.part``, ``.tmp`` behind it) and rename. A file is complete when size, time and inode
have been the same for ``settle_s`` of the monotonic clock: a wall clock that jumps
changes nothing. Only regular files of the folder itself are looked at, oldest first.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from edge_agent.base.clock import Clock
from edge_agent.serve.files.reading import SUFFIXES
from edge_agent.store.disk import sync_folder

DONE, FAILED = "done", "failed"
MAX_FILES = 10_000
_MAX_WHY = 4000

_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A complete file, and what it looked like when it was found to be."""

    path: Path
    stat: os.stat_result


class Watch:
    """Looks at one folder; one thread uses it."""

    def __init__(self, folder: Path, settle_s: float, clock: Clock) -> None:
        """Nothing has been seen yet."""
        self._folder = folder
        self._settle_s = settle_s
        self._clock = clock
        self._seen: dict[str, tuple[_Stamp, float]] = {}

    def next(self) -> Found | None:
        """Return the oldest complete file, if there is one.

        Raises:
            OSError: The folder cannot be read.
        """
        now = self._clock.mono()
        seen: dict[str, tuple[_Stamp, float]] = {}
        complete: list[tuple[int, str, os.stat_result]] = []
        for name, stat in self._files():
            stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            known = self._seen.get(name)
            since = known[1] if known is not None and known[0] == stamp else now
            seen[name] = (stamp, since)
            if now - since >= self._settle_s:
                complete.append((stat.st_mtime_ns, name, stat))
        self._seen = seen
        if not complete:
            return None
        _, name, stat = min(complete, key=lambda one: one[:2])
        return Found(path=self._folder / name, stat=stat)

    def _files(self) -> list[tuple[str, os.stat_result]]:
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if not _is_wanted(entry):
                    continue
                try:
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue  # Taken away meanwhile.
                if len(found) == MAX_FILES:
                    break
        return found


def _is_wanted(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - no path is made
    return (
        suffix in SUFFIXES
        and not entry.name.startswith(".")
        and entry.is_file(follow_symlinks=False)
    )


def put_away(path: Path, after: str, *, why: str = "") -> Path | None:
    """Move, mark or delete a file that is done, or (with ``why``) cannot be used.

    One that cannot be used is never deleted; the reason is beside it, ``.why`` behind
    its name. Nothing is written over. Durable when it returns.

    Returns:
        Where the file is now; ``None``: deleted.

    Raises:
        OSError: It could not be done; the file is where it was.
    """
    place = FAILED if why else DONE
    if after == "delete" and not why:
        path.unlink()
        sync_folder(path.parent)
        return None
    if after == "mark":
        folder, name = path.parent, f"{path.name}.{place}"
    else:
        folder, name = path.parent / place, path.name
        folder.mkdir(exist_ok=True)
    target = _free(folder, name)
    if why:
        target.with_name(target.name + ".why").write_text(
            why[:_MAX_WHY] + "\n", "utf-8"
        )
    path.rename(target)
    for changed in {folder, path.parent}:
        sync_folder(changed)
    return target


def _free(folder: Path, name: str) -> Path:
    """Return a path in the folder that no file has: a number before the suffix."""
    stem, suffix = Path(name).stem, Path(name).suffix
    target, number = folder / name, 1
    while target.exists():
        target = folder / f"{stem}.{number}{suffix}"
        number += 1
    return target

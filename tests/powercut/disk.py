"""What a disk may hold after a power cut, made from a recording.

The model: data that a sync covered is there. Of anything else written since, each
sector may be there or not, whatever came later; a torn one is there in part. Unsynced
truncations may not have happened. Names (created, renamed, deleted) follow in order up
to any point after the last sync of their folder, as journaling file systems have it.
"""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

_HEAD = struct.Struct("<IIQQQ")
SECTORS = (512, 4096)


class Op(IntEnum):
    """What a process did."""

    WRITE = 1
    TRUNCATE = 2
    SYNC_BEGIN = 3
    SYNC_END = 4
    CREATE = 5
    RENAME = 6
    UNLINK = 7


@dataclass(frozen=True, slots=True)
class Entry:
    """One call; ``data`` is what was written, or the new name of a renamed file."""

    op: Op
    inode: int
    offset: int
    path: str
    data: bytes


@dataclass(slots=True)
class _File:
    """A file: what is on the disk for sure, and what was done to it since."""

    safe: bytearray = field(default_factory=bytearray)
    later: list[Entry] = field(default_factory=list)
    syncing: int = 0


Names = dict[str, _File]


def read_log(path: Path) -> list[Entry]:
    """Read a recording."""
    data, at, entries = path.read_bytes(), 0, []
    while at < len(data):
        op, name, inode, offset, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        text = data[at : at + name].decode()
        at += name
        entries.append(Entry(Op(op), inode, offset, text, data[at : at + size]))
        at += size
    return entries


class Disk:
    """The state of a disk while a recording is played."""

    def __init__(self) -> None:
        """Start with an empty folder."""
        self._inodes: dict[int, _File] = {}
        self._names: Names = {}
        self._later: list[Names] = []
        """The folder after each change that was not synced."""

    def play(self, entry: Entry) -> None:
        """Follow one call."""
        if entry.op is Op.CREATE:
            self._inodes[entry.inode] = _File()
            self._rename({Path(entry.path).name: self._inodes[entry.inode]}, ())
        elif entry.op is Op.RENAME:
            old, new = Path(entry.path).name, Path(entry.data.decode()).name
            self._rename({new: self._newest[old]}, (old,))
        elif entry.op is Op.UNLINK:
            self._rename({}, (Path(entry.path).name,))
        elif entry.inode not in self._inodes:
            if entry.op is Op.SYNC_END:  # of the folder
                self._names, self._later = self._newest, []
        else:
            _follow(self._inodes[entry.inode], entry)

    def cut(self, dice: random.Random) -> dict[str, bytes]:
        """Return the files, by name, as a cut at this moment may leave them."""
        keep = dice.choice((0.0, 1.0, dice.random(), dice.random()))
        names = dice.choice([self._names, *self._later])
        return {name: _settle(file, keep, dice) for name, file in names.items()}

    @property
    def _newest(self) -> Names:
        return self._later[-1] if self._later else self._names

    def _rename(self, new: Names, gone: tuple[str, ...]) -> None:
        names = {n: file for n, file in self._newest.items() if n not in gone}
        self._later.append(names | new)


def _follow(file: _File, entry: Entry) -> None:
    if entry.op is Op.SYNC_BEGIN:
        file.syncing = len(file.later)
    elif entry.op is Op.SYNC_END:
        for done in file.later[: file.syncing]:
            _apply(file.safe, done)
        del file.later[: file.syncing]
        file.syncing = 0
    else:
        file.later.append(entry)


def _settle(file: _File, keep: float, dice: random.Random) -> bytes:
    content = bytearray(file.safe)
    sector = dice.choice(SECTORS)
    for entry in file.later:
        if entry.op is Op.TRUNCATE:
            if dice.random() < keep:
                _apply(content, entry)
            continue
        for at, part in _sectors(entry, sector):
            if dice.random() < keep:
                _apply(content, Entry(Op.WRITE, 0, at, "", part))
            elif keep and dice.random() < 0.1:
                torn = part[: dice.randrange(len(part))]
                _apply(content, Entry(Op.WRITE, 0, at, "", torn))
    return bytes(content)


def _sectors(entry: Entry, size: int) -> Iterator[tuple[int, bytes]]:
    at, end = entry.offset, entry.offset + len(entry.data)
    while at < end:
        stop = min(end, (at // size + 1) * size)
        yield at, entry.data[at - entry.offset : stop - entry.offset]
        at = stop


def _apply(content: bytearray, entry: Entry) -> None:
    if entry.op is Op.TRUNCATE:
        del content[entry.offset :]
        content.extend(bytes(entry.offset - len(content)))
        return
    if not entry.data:
        return
    content.extend(bytes(max(0, entry.offset - len(content))))
    content[entry.offset : entry.offset + len(entry.data)] = entry.data

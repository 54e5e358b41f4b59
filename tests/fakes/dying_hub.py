"""A hub that is killed at every change that it makes to its home folder.

``python -m tests.fakes.dying_hub HOME OPERATION OUT`` copies ``HOME`` to ``OUT/1``,
``OUT/2``, … and carries the operation out in each, in a process of its own that gets
SIGKILL just before its first, second, … change of a file (Python's audit events name
them all) or commit of the database, until one process comes to its end. It prints what
each was about to do, one JSON list.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from hub.config import Home
from hub.releases.ceremony import Ceremony, NewKeys
from hub.service import open_services
from tests.hub_keys import PASSPHRASE, HandClock

REMOVALS = {"os.remove", "os.rmdir"}
CHANGES = {"os.rename", "os.mkdir", "os.truncate", *REMOVALS}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MOST = 200


def operations(home: Home, offline: Path) -> dict[str, Callable[[], object]]:
    """Return what a hub may do, by name."""
    clock = HandClock()
    new = NewKeys(folder=offline, passphrase=PASSPHRASE)

    def ceremony() -> Ceremony:
        return Ceremony(
            home, clock, offline=[offline], passphrases=lambda _: [PASSPHRASE]
        )

    def publish() -> None:
        services = open_services(home, clock)
        services.releases.publish(2)
        services.engine.dispose()

    def take_in() -> None:
        services = open_services(home, clock)
        services.releases.take_in_once(home.path.parent / "bundle")
        services.engine.dispose()

    return {
        "publish": publish,
        "take in": take_in,
        "refresh": lambda: ceremony().refresh(["targets"]),
        "floor": lambda: ceremony().set_floor(1),
        **{
            f"rotate {role}": lambda role=role: ceremony().rotate(role, new)  # type: ignore[misc]
            for role in ("root", "targets", "models", "online")
        },
    }


class Killer:
    """Counts changes below a folder, and ends this process at one of them."""

    def __init__(self, folder: Path, step: int, tell: int) -> None:
        """Die before change number ``step``, telling which on file ``tell``."""
        self._folder = str(folder)
        self._left = step
        self._tell = tell
        sys.addaudithook(self._hear)
        self._committing = False
        event.listen(Engine, "commit", lambda _: self._commit())
        event.listen(Pool, "reset", lambda *_: self._committed())

    def _commit(self) -> None:
        self._count("commit")
        self._committing = True

    def _committed(self) -> None:
        if self._committing:
            self._committing = False
            self._count("the next step: committed")

    def _hear(self, name: str, args: tuple[object, ...]) -> None:
        is_change = name in CHANGES
        if name == "open":
            flags = args[2]
            is_change = isinstance(flags, int) and bool(flags & _WRITES)
        path = str(args[0]) if args else ""
        if name in REMOVALS and not path.startswith("/"):
            self._count(f"{name} {path}")  # A folder's content is named by handle.
        elif is_change and path.startswith(self._folder) and "hub.db" not in path:
            self._count(f"{name} {Path(path).relative_to(self._folder)}")

    def _count(self, what: str) -> None:
        self._left -= 1
        if self._left == 0:
            os.write(self._tell, what.encode())
            os.kill(os.getpid(), signal.SIGKILL)


def run_until(home: Path, operation: str, copy: Path, step: int) -> str:
    """Carry an operation out in a copy and die; return before what ("": it ended)."""
    shutil.copytree(home, copy)
    hear, tell = os.pipe()
    child = os.fork()
    if not child:
        work = operations(Home(copy / "home"), copy / "usb")[operation]
        Killer(copy, step, tell)
        work()
        os._exit(0)
    os.close(tell)
    with os.fdopen(hear, "rb") as pipe:
        what = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    expected = -signal.SIGKILL if what else 0
    if status != expected:
        raise SystemExit(f"step {step} of {operation}: exit status {status}")
    return what


def main(argv: list[str]) -> None:
    """Kill at every step."""
    home, operation, out = Path(argv[0]), argv[1], Path(argv[2])
    told: list[str] = []
    for step in range(1, MOST):
        told.append(run_until(home, operation, out / str(step), step))
        if not told[-1]:
            break
    print(json.dumps(told))  # noqa: T201 - its result


if __name__ == "__main__":
    main(sys.argv[1:])

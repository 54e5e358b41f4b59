"""The demo's child processes: started in order, stopped in reverse, all by their id."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Self

from hub.errors import HubError

STOP_S = 10.0
_SERVERS = ("broker", "hub")


@dataclass(slots=True)
class Child:
    """A process of the demo, its name, and the file its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log_file: Path
    watched: bool = True

    def tail(self, lines: int = 12) -> str:
        """Return the last lines of the output."""
        text = self.log_file.read_text("utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])


@dataclass(slots=True)
class Processes:
    """Starts children in sessions of their own and ends every one that still runs."""

    folder: Path
    children: list[Child] = field(default_factory=list)
    keep: bool = False

    def __enter__(self) -> Self:
        """Begin: the log folder exists."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop all children; keep them only if asked to and nothing went wrong."""
        if kind is not None or not self.keep:
            self.stop_all()

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        watched: bool = True,
    ) -> Child:
        """Start a child; its output goes to ``NAME.log``.

        A ``watched`` child is meant to run on: :meth:`check` fails once it ends.
        It gets a session of its own, so that Ctrl-C reaches the demo alone, which then
        stops the children in order.
        """
        log_file = self.folder / f"{name}.log"
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        child = Child(name=name, process=process, log_file=log_file, watched=watched)
        self.children.append(child)
        return child

    def check(self) -> None:
        """See that everything still runs.

        Raises:
            HubError: A child has ended; the text holds its last output.
        """
        for child in self.children:
            code = child.process.poll()
            if child.watched and code is not None:
                raise HubError(
                    "HUB-DEMO-001",
                    f"{child.name} ended with exit code {code}:\n{child.tail()}",
                    cure=f"its whole output is in {child.log_file}",
                )

    def running(self) -> list[int]:
        """Return the process ids of the children that still run."""
        return [c.process.pid for c in self.children if c.process.poll() is None]

    def stop_all(self) -> None:
        """Stop the newest first: agents drain to the hub while it still listens."""
        last = [c for c in self.children if c.name in _SERVERS]
        agents = [c for c in self.children if c.name not in _SERVERS]
        for child in agents:
            child.process.send_signal(signal.SIGTERM)
        for child in [*agents, *reversed(last)]:
            child.process.send_signal(signal.SIGTERM)
            _wait(child)
        self.children.clear()


def _wait(child: Child) -> None:
    try:
        child.process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait(STOP_S)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM into Ctrl-C, so that either one stops every child."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""The processes of a run: started, killed, started again, and all ended in the end.

Agents and hub are forked from this process, which has imported everything: they are at
work some milliseconds after a kill. With an interpreter's start and imports before it,
most kills would hit a process that had not yet done anything.
"""

import multiprocessing
import os
import pwd
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NoReturn, Self

from hub.identity.broker import bounds
from hub.identity.broker import persistence as persistence_lines
from tests.hub_broker import MOSQUITTO

END_S = 15.0
_FORK = multiprocessing.get_context("fork")
Main = Callable[[list[str]], int]


class ChildDiedError(Exception):
    """A process ended although nobody had killed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a process runs: a function of this program and its arguments."""

    main: Main
    words: list[str]


class Children:
    """Processes by name; each has a session of its own, so Ctrl-C reaches us alone."""

    def __init__(self, folder: Path) -> None:
        """Keep the output of the process ``NAME`` in ``folder/NAME.log``."""
        self._folder = folder
        self._programs: dict[str, Program] = {}
        self._running: dict[str, ForkProcess] = {}

    def __enter__(self) -> Self:
        """Begin with none."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill and reap whatever still runs."""
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.join(END_S)

    def start(self, name: str, program: Program) -> None:
        """Start a process under a name."""
        self._programs[name] = program
        process = _FORK.Process(
            target=_enter, args=(program, self._folder / f"{name}.log"), name=name
        )
        self._running[name] = process
        process.start()

    def kill_and_restart(self, name: str) -> None:
        """Kill a process with SIGKILL and start it again at once."""
        process = self._running[name]
        process.kill()
        process.join(END_S)
        self.start(name, self._programs[name])

    def end(self) -> None:
        """End everything in order, the newest first."""
        for name in reversed(list(self._running)):
            process = self._running.pop(name)
            process.terminate()
            process.join(END_S)
            if process.is_alive():
                process.kill()
                process.join(END_S)

    def check(self) -> None:
        """See that everything runs.

        Raises:
            ChildDiedError: A process has ended by itself; the text has its last output.
        """
        for name, process in self._running.items():
            if process.exitcode is not None:
                output = (self._folder / f"{name}.log").read_text("utf-8", "replace")
                tail = "\n".join(output.splitlines()[-15:])
                raise ChildDiedError(f"{name}: exit code {process.exitcode}:\n{tail}")


def _enter(program: Program, output: Path) -> None:
    """Become the process: own session, own output, no handlers of the parent."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    with output.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.exit(program.main(program.words))


def broker(folder: Path, port: int, *, persistence: bool) -> Program:
    """Write mosquitto's configuration and return how to run it."""
    assert MOSQUITTO is not None, "the torture needs mosquitto"
    store = folder / "broker"
    store.mkdir()
    keep = persistence_lines(store) if persistence else ["persistence false"]
    user = pwd.getpwuid(os.getuid()).pw_name
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser {user}\n"
        + "\n".join([*bounds(), *keep])
        + "\n",
        "utf-8",
    )
    return Program(main=_exec, words=[MOSQUITTO, "-c", str(config)])


def _exec(words: list[str]) -> NoReturn:
    os.execv(words[0], words)  # noqa: S606 - a list, never a shell

"""The watched child: restarted when it dies, stopped cleanly, crash loops reported."""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from edge_agent.base.clock import SystemClock
from edge_agent.child import ChildHooks, WorkerChild, worker_command
from edge_agent.store.slots import Slots
from tests.fakes.agent_hub import wait_for


class Watched:
    """A child and what its hooks were told."""

    def __init__(self, *code: str) -> None:
        """Run a line of Python as the child."""
        self.deaths: list[int] = []
        self.loops = self.blamed = 0
        self.starts_at_loop = 0
        command: Sequence[str] = [sys.executable, "-S", "-c", *code]
        hooks = ChildHooks(on_death=self.deaths.append, on_crash_loop=self._loop)
        self.child = WorkerChild(command, SystemClock(), hooks)
        self.thread = threading.Thread(target=self.child.run, name="child")

    def _loop(self, release: int) -> None:
        self.blamed = release
        self.loops += 1
        self.starts_at_loop = self.starts_at_loop or len(self.deaths)

    def stop(self) -> None:
        """Stop the child and its watcher."""
        self.child.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_dead_child_is_started_again() -> None:
    """Each death is reported with its status."""
    watched = Watched("raise SystemExit(3)")
    watched.thread.start()

    wait_for(lambda: len(watched.deaths) >= 3, "three deaths")

    watched.stop()
    assert set(watched.deaths) == {3}
    assert watched.loops == 0


def test_deaths_after_an_activation_are_a_crash_loop() -> None:
    """The second death soon after an activation is reported before the next start."""
    watched = Watched("raise SystemExit(3)")
    watched.child.follow(Slots(active=2, phase="ACTIVATE"))
    watched.thread.start()

    wait_for(lambda: watched.loops, "the crash loop")

    watched.stop()
    assert (watched.starts_at_loop, watched.blamed) == (2, 2)


def test_deaths_in_shadow_are_a_crash_loop_of_the_candidate() -> None:
    """While a release runs in shadow, the worker's deaths are its, whenever they come;
    once it does not any more, they are nobody's.
    """  # noqa: D205 - the summary is one sentence
    watched = Watched("raise SystemExit(3)")
    watched.child.follow(Slots(active=1, candidate=2, phase="SHADOW"))
    watched.thread.start()
    wait_for(lambda: watched.loops, "the crash loop")
    assert watched.blamed == 2

    watched.child.follow(Slots(active=1, phase="IDLE"))
    loops, deaths = watched.loops, len(watched.deaths)
    wait_for(lambda: len(watched.deaths) >= deaths + 3, "three more deaths")

    watched.stop()
    assert watched.loops <= loops + 1


def test_stopping_ends_a_child_that_waits_for_its_input() -> None:
    """The end of its standard input tells the child to leave; that is no death."""
    watched = Watched("import sys; sys.stdin.read()")
    watched.thread.start()
    wait_for(lambda: watched.child.pid, "the child")

    watched.stop()

    assert watched.deaths == []


def test_stubborn_child_is_terminated() -> None:
    """A child that does not look at its input gets SIGTERM."""
    watched = Watched("import threading; threading.Event().wait()")
    watched.thread.start()
    wait_for(lambda: watched.child.pid, "the child")

    watched.stop()

    assert watched.child.restarts == 0


def test_command_line() -> None:
    """The worker is told its configuration and boot id."""
    command = worker_command(Path("a.toml"), "0" * 16)

    assert command[1:] == [
        "-m",
        "edge_agent.worker",
        "--config",
        "a.toml",
        "--boot",
        "0" * 16,
    ]

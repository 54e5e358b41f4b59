"""The watched child: restarted when it dies, stopped cleanly, crash loops reported."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from edge_agent.base.clock import Clock, SystemClock
from edge_agent.child import (
    CRASH_WINDOW_S,
    ChildHooks,
    Death,
    WorkerChild,
    worker_command,
    worker_environment,
)
from edge_agent.store.slots import Slots
from edge_agent.wire.control import Assignment, ShadowPolicy
from tests.fakes.agent_hub import wait_for
from tests.fakes.scripted_link import FakeClock


class Watched:
    """A child and what its hooks were told."""

    def __init__(self, *code: str, clock: Clock | None = None) -> None:
        """Run a line of Python as the child."""
        self.deaths: list[Death] = []
        self.loops = self.blamed = 0
        self.starts_at_loop = 0
        command: Sequence[str] = [sys.executable, "-S", "-c", *code]
        hooks = ChildHooks(on_death=self.deaths.append, on_crash_loop=self._loop)
        self.child = WorkerChild(command, clock or SystemClock(), hooks)
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
    assert set(watched.deaths) == {Death(status=3)}
    assert watched.loops == 0


def test_the_first_death_costs_less_than_a_second() -> None:
    """That is how long a device may be without its worker."""
    watched = Watched("import threading; threading.Event().wait()")
    clock = SystemClock()
    watched.thread.start()
    wait_for(lambda: watched.child.pid, "the child")
    before, started = watched.child.present

    os.kill(before, signal.SIGKILL)
    killed_at = clock.mono()
    wait_for(lambda: watched.child.present[1] > started, "another one")

    assert watched.child.present[1] - killed_at < 1.0
    watched.stop()


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
    wanted = Assignment(
        device="d",
        seq=2,
        release=2,
        target="t",
        rollout="r",
        issued_at=1.0,
        artifacts_url="",
        shadow=ShadowPolicy(),
    )
    watched.child.follow(
        Slots(active=1, candidate=2, phase="SHADOW", assignment=wanted)
    )
    watched.thread.start()
    wait_for(lambda: watched.loops, "the crash loop")
    assert watched.blamed == 2

    watched.child.follow(Slots(active=1, phase="IDLE"))
    loops, deaths = watched.loops, len(watched.deaths)
    wait_for(lambda: len(watched.deaths) >= deaths + 3, "three more deaths")

    watched.stop()
    assert watched.loops <= loops + 1


def test_a_hung_child_is_killed_and_replaced() -> None:
    """Its end says what hung; a late verdict about the child before changes nothing."""
    watched = Watched("import threading; threading.Event().wait()")
    watched.thread.start()
    wait_for(lambda: watched.child.pid, "the child")
    pid = watched.child.pid

    for _ in range(2):
        watched.child.kill_hung(pid, "the model", SystemClock().mono())
        wait_for(lambda: watched.child.pid not in {0, pid}, "another one")

    watched.stop()
    assert watched.deaths == [Death(status=-9, hung="the model")]
    assert watched.child.restarts == 1


def test_hangs_are_a_crash_loop_by_when_the_child_last_lived() -> None:
    """What took long to find out still belongs to the release that was tried then."""
    clock = FakeClock()
    watched = Watched("import threading; threading.Event().wait()", clock=clock)
    watched.child.follow(Slots(active=2, phase="PROBATION"))
    watched.child.follow(Slots(active=2, phase="IDLE"))
    alive_at = clock.now
    clock.now += 2 * CRASH_WINDOW_S
    watched.thread.start()

    for died_at in (clock.now, alive_at, alive_at):
        wait_for(lambda: watched.child.pid, "the child")
        pid, deaths = watched.child.pid, len(watched.deaths)
        watched.child.kill_hung(pid, "the model", died_at)
        wait_for(lambda n=deaths: len(watched.deaths) > n, "its end")  # type: ignore[misc]
        wait_for(lambda pid=pid: watched.child.pid != pid, "another one")  # type: ignore[misc]

    watched.stop()
    assert (watched.loops, watched.starts_at_loop, watched.blamed) == (1, 3, 2)


def test_every_death_on_trial_counts() -> None:
    """A probation may be longer than the window after it."""
    clock = FakeClock()
    watched = Watched("raise SystemExit(3)", clock=clock)
    watched.child.follow(Slots(active=2, phase="PROBATION"))
    clock.now += 10 * CRASH_WINDOW_S
    watched.thread.start()

    wait_for(lambda: watched.loops, "the crash loop")

    watched.stop()
    assert (watched.starts_at_loop, watched.blamed) == (2, 2)


def test_the_release_put_back_is_not_blamed_for_the_one_before() -> None:
    """Deaths are counted anew from a rollback on."""
    watched = Watched("import threading; threading.Event().wait()")
    watched.child.follow(Slots(active=2, phase="ACTIVATE"))
    watched.thread.start()

    for n in range(3):
        wait_for(lambda: watched.child.pid, "the child")
        pid = watched.child.pid
        watched.child.kill_hung(pid, "it", SystemClock().mono())
        wait_for(lambda n=n: len(watched.deaths) > n, "its end")  # type: ignore[misc]
        if n == 1:
            watched.child.follow(Slots(active=1, phase="ROLLBACK"))
            watched.child.follow(Slots(active=1, phase="IDLE"))
        wait_for(lambda pid=pid: watched.child.pid != pid, "another one")  # type: ignore[misc]

    watched.stop()
    assert (watched.loops, watched.blamed) == (1, 2)


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


def test_the_worker_is_frugal_unless_told_otherwise() -> None:
    """One heap serves all its threads; what the service's unit sets goes first."""
    assert worker_environment({"A": "b"})["MALLOC_ARENA_MAX"] == "1"
    assert worker_environment({"MALLOC_ARENA_MAX": "4"})["MALLOC_ARENA_MAX"] == "4"

"""What the service manager is told, on a real datagram socket."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.notify import ServiceManager
from tests.fakes.service_manager import ServiceManagerSocket


@dataclass
class Clock:
    """A steady clock that a test moves."""

    now: float = 100.0

    def wall(self) -> float:
        """Return the same."""
        return self.now

    def mono(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture(params=["file", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[ServiceManagerSocket]:
    """Return a manager at a path, and one in the abstract namespace."""
    path = str(tmp_path / "n") if request.param == "file" else f"@shoal-{os.getpid()}"
    made = ServiceManagerSocket(path)
    yield made
    made.close()


def test_readiness_is_told_once(manager: ServiceManagerSocket) -> None:
    """However often the agent says that it is ready."""
    service = ServiceManager({"NOTIFY_SOCKET": manager.path}, Clock())
    service.ready()
    service.ready()
    service.stopping()

    assert manager.heard() == ["READY=1", "STOPPING=1"]


def test_the_watchdog_is_fed_three_times_a_period(
    manager: ServiceManagerSocket,
) -> None:
    """One datagram may be lost, and calls in between cost none."""
    clock = Clock()
    asked = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "30000000"}
    service = ServiceManager(asked, clock)
    for _ in range(60):
        service.alive()
        clock.now += 1.0

    assert manager.heard() == ["WATCHDOG=1"] * 6


@pytest.mark.parametrize(
    "asked",
    [{}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}],
    ids=["none asked for", "of another process", "no number"],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(
    manager: ServiceManagerSocket, asked: dict[str, str]
) -> None:
    """Only the process that is watched feeds the watchdog."""
    ServiceManager({"NOTIFY_SOCKET": manager.path, **asked}, Clock()).alive()

    assert manager.heard() == []


def test_without_a_service_manager_nothing_happens(tmp_path: Path) -> None:
    """Neither a missing address nor one where nobody listens is an error."""
    ServiceManager({}, Clock()).ready()
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}, Clock()).ready()

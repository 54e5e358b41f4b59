"""The agent as a service: what systemd would hear of the real processes."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.agent_hub import free_port, wait_for
from tests.fakes.agent_process import Agent
from tests.fakes.service_manager import ServiceManagerSocket
from tests.fakes.tuf_repository import TufRepository


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManagerSocket]:
    """Return a service manager that listens."""
    made = ServiceManagerSocket(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def agent(
    tmp_path: Path, manager: ServiceManagerSocket, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Agent]:
    """Return an agent, not started, that is watched and has no broker."""
    monkeypatch.setenv("NOTIFY_SOCKET", manager.path)
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    monkeypatch.setenv("SHOAL_AGENT_WORKER__WATCHDOG_S", "0.2")
    root = TufRepository().root_versions[0]
    made = Agent(tmp_path / "agent", free_port(), root)
    yield made
    made.stop(signal.SIGKILL)


def test_ready_alive_and_stopping_are_told(
    agent: Agent, manager: ServiceManagerSocket
) -> None:
    """Ready comes once and first, life again and again, the end before the end."""
    heard: list[str] = []

    def is_fed() -> bool:
        heard.extend(manager.heard())
        return heard.count("WATCHDOG=1") > 1

    agent.start()
    wait_for(is_fed, "a fed watchdog")
    agent.stop()
    heard.extend(manager.heard())

    assert heard[0] == "READY=1"
    assert heard.count("READY=1") == 1
    assert heard[-1] == "STOPPING=1"

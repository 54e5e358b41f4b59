"""What the supervisor believes that the worker has loaded."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.heartbeat import WorkerPort
from edge_agent.serve import protocol as p
from edge_agent.serve.server import Server

WAIT_S = 10.0


class SlowWorker:
    """Answers the first question for figures only after a reload."""

    def __init__(self) -> None:
        """Release 2 is loaded."""
        self.release = 2
        self.asked = threading.Event()
        self.reloaded = threading.Event()

    def handle(self, request: p.Request, _data: bytes) -> p.Reply:
        """Answer."""
        if isinstance(request, p.Reload):
            self.release = 1
            self.reloaded.set()
            return p.StatusReply(boot="0" * 16, pid=1, release=1, sha256="b" * 64)
        old = self.release
        self.asked.set()
        assert self.reloaded.wait(WAIT_S)
        return p.StatsReply(release=old, sha256="a" * 64)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[tuple[SlowWorker, WorkerPort]]:
    """A worker behind a socket, and the supervisor's port to it."""
    made = SlowWorker()
    threads: list[threading.Thread] = []

    def spawn(name: str, body: object) -> None:
        assert callable(body)
        threads.append(threading.Thread(target=body, name=name, daemon=True))
        threads[-1].start()

    server = Server(tmp_path / "agent.sock", made.handle, spawn)
    spawn("api", server.run)
    port = WorkerPort(tmp_path / "agent.sock")
    yield made, port
    port.close()
    server.stop()
    for thread in threads:
        thread.join(WAIT_S)


def test_an_answer_that_a_swap_overtook_is_not_believed(
    worker: tuple[SlowWorker, WorkerPort],
) -> None:
    """The twin must not tell the release before the rollback as loaded after it."""
    slow, port = worker
    looking = threading.Thread(target=port.stats)
    looking.start()
    assert slow.asked.wait(WAIT_S)

    assert port.reload().release == 1
    looking.join(WAIT_S)

    assert port.loaded.release == 1


def test_without_a_worker_nothing_is_loaded(
    worker: tuple[SlowWorker, WorkerPort],
) -> None:
    """A death is a change like a swap."""
    slow, port = worker
    port.reload()
    assert port.loaded.release == 1
    port.forget()
    assert port.loaded.release == 0
    port.stats()
    assert port.loaded.release == slow.release

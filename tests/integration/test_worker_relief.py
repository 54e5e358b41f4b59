"""A connection whose thread hangs in a model is answered, and goes on, by another."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import WorkerError
from edge_agent.pipeline.owner import Owner
from edge_agent.serve import protocol as p
from edge_agent.serve.client import Client
from edge_agent.serve.connections import Listening
from edge_agent.serve.listen import listen_tcp
from edge_agent.serve.oip.access import Access
from edge_agent.serve.oip.http1 import Head, Response
from edge_agent.serve.oip.http_reader import BodyBudget
from edge_agent.serve.oip.http_server import Body, HttpPorts, HttpRules, HttpServer
from edge_agent.serve.server import Server
from tests.fakes.held_model import WAIT_S, Held, sample_of

SOON_S = 0.1
MIB = 1 << 20


class Stage:
    """A model that hangs at its first sample, and what answers in its stead."""

    def __init__(self) -> None:
        """Give the model its owner."""
        self.held = Held()
        self.owner = Owner(self.held)
        self.threads: list[threading.Thread] = []
        self.may_spawn = True
        self.spawn("model", self.owner.run)

    def spawn(self, name: str, body: Callable[[], None]) -> None:
        """Start a thread that is joined in the end."""
        if not self.may_spawn:
            raise RuntimeError("can't start new thread")
        thread = threading.Thread(target=body, name=name)
        self.threads.append(thread)
        thread.start()

    def threads_of_connections(self) -> int:
        """Return how many threads have served connections so far."""
        return sum(thread.name.endswith("-connection") for thread in self.threads)

    def label(self, value: float) -> str:
        """Return the model's answer, or ``rule`` where it has none in time."""
        try:
            return self.owner.predict(sample_of(value), timeout_s=SOON_S).label
        except WorkerError:
            return "rule"

    def free(self) -> None:
        """Let the model go on; its thread comes back to a request of another."""
        self.held.go_on.set()

    def join(self) -> None:
        """End the model, and see that no thread is left."""
        self.free()
        self.owner.close()
        for thread in self.threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A model that hangs at its first sample."""
    made = Stage()
    yield made
    made.join()


@pytest.fixture
def framed(stage: Stage, tmp_path: Path) -> Iterator[Path]:
    """It behind the framed socket."""

    def handle(request: p.Request, _data: bytes) -> p.Reply:
        assert isinstance(request, p.Infer)
        return p.Failure(code="T", text=stage.label(float(request.sample_id)), cure="")

    server = Server(tmp_path / "agent.sock", handle, stage.spawn)
    stage.spawn("api", server.run)
    yield tmp_path / "agent.sock"
    stage.free()
    server.stop()


@pytest.fixture
def http(stage: Stage) -> Iterator[int]:
    """It behind HTTP."""

    def answer(_head: Head, body: Body) -> Response:
        return Response(body=json.dumps(stage.label(json.loads(body))).encode())

    listener = listen_tcp("127.0.0.1", 0)
    server = HttpServer(
        Listening(listener=listener, name="http", limit=2),
        HttpRules(access=Access(), budget=BodyBudget(MIB, MIB)),
        HttpPorts(answer=answer, spawn=stage.spawn),
    )
    port = listener.getsockname()[1]
    stage.spawn("http", server.run)
    yield port
    stage.free()
    server.stop()


def _ask_framed(client: Client, value: float) -> str:
    with pytest.raises(WorkerError) as caught:
        client.infer(f"{value}", np.zeros(1, np.float32))
    return caught.value.text


def _ask_http(connection: HTTPConnection, value: float) -> str:
    connection.request("POST", "/", json.dumps(value))
    answer = connection.getresponse()
    assert answer.status == HTTPStatus.OK
    label = json.loads(answer.read())
    assert isinstance(label, str)
    return label


def _ask_until_answered(ask: Callable[[float], str]) -> None:
    """Each answer is the one to its own question, soon the model's again."""
    for value in (3, 4, 5):
        while (label := ask(value)) != f"{value}":
            assert label == "rule"


def test_a_framed_request_that_hangs_is_answered_once(
    stage: Stage, framed: Path
) -> None:
    """The next step's answer comes, then those of later requests, in order."""
    with Client(framed, WAIT_S) as client:
        assert _ask_framed(client, 1) == "rule"
        assert _ask_framed(client, 2) == "rule"
        stage.free()
        _ask_until_answered(lambda value: _ask_framed(client, value))
    assert stage.threads_of_connections() == 2


def test_an_http_request_that_hangs_is_answered_once(stage: Stage, http: int) -> None:
    """The same connection goes on with another thread, nothing is sent twice."""
    connection = HTTPConnection("127.0.0.1", http, timeout=WAIT_S)
    assert _ask_http(connection, 1) == "rule"
    assert _ask_http(connection, 2) == "rule"
    stage.free()
    _ask_until_answered(lambda value: _ask_http(connection, value))
    connection.close()
    assert stage.threads_of_connections() == 2


def test_connections_end_once(stage: Stage, http: int) -> None:
    """A thread that was relieved gives back no place among the connections."""
    first, second = (HTTPConnection("127.0.0.1", http, timeout=WAIT_S) for _ in "12")
    assert _ask_http(first, 1) == "rule"
    stage.free()
    for each in (first, second):
        _ask_until_answered(lambda value, each=each: _ask_http(each, value))  # type: ignore[misc]
    with socket.create_connection(("127.0.0.1", http), WAIT_S) as third:
        assert third.recv(64).startswith(b"HTTP/1.1 503 ")
    for each in (first, second):
        each.close()


def test_without_a_thread_to_stand_in_the_connection_ends(
    stage: Stage, http: int
) -> None:
    """Where no more can be started, the client hears at once that it must ask again."""
    connection = HTTPConnection("127.0.0.1", http, timeout=WAIT_S)
    connection.request("POST", "/", "1")
    assert stage.held.arrived.wait(WAIT_S)
    stage.may_spawn = False
    with pytest.raises(ConnectionError):
        connection.getresponse()
    stage.may_spawn = True
    connection.close()

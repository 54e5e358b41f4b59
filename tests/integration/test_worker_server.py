"""The local API's server on a real socket, with good and bad peers."""

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import WorkerError
from edge_agent.serve import protocol as p
from edge_agent.serve.client import Client
from edge_agent.serve.framing import Frames
from edge_agent.serve.server import MAX_CONNECTIONS, Server
from edge_agent.serve.socket_path import socket_address


def _handle(request: p.Request, _data: bytes) -> p.Reply:
    match request:
        case p.Infer():
            return p.Prediction(
                sample_id=request.sample_id,
                release=1,
                label="up",
                confidence=1.0,
                probabilities=[1.0],
                served_by="active",
                latency_us=1.0,
                number=1,
            )
        case p.Feedback():
            raise RuntimeError("a bug in the handler")
        case _:
            return p.Ok()


def _framed(header: bytes) -> bytes:
    length = p.LENGTH.pack(len(header))
    return p.LENGTH.pack(len(length) + len(header)) + length + header


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A server in a deep folder, beyond what a socket's address can hold."""
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    threads: list[threading.Thread] = []

    def spawn(name: str, body: Callable[[], None]) -> None:
        thread = threading.Thread(target=body, name=name)
        threads.append(thread)
        thread.start()

    server = Server(folder / "agent.sock", _handle, spawn)
    spawn("api", server.run)
    yield folder / "agent.sock"
    server.stop()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.settimeout(10)
        with socket_address(path) as address:
            raw.connect(address)
        yield raw


def _reply(raw: socket.socket) -> p.Reply:
    body = Frames(raw, frame_s=10).read(idle_s=10)
    assert body is not None
    reply: p.Reply = p.decode_frame(body, p.reply_decoder)[0]
    return reply


def test_many_requests_over_one_connection(path: Path) -> None:
    """A connection serves request after request."""
    with Client(path) as client:
        for n in range(20):
            made = client.infer(f"s{n}", np.zeros((3, 2), np.float32))
            assert made.sample_id == f"s{n}"


def test_a_bug_in_the_handler_is_a_failure_not_a_traceback(path: Path) -> None:
    """The peer reads a code and where to look; the connection lives on."""
    with Client(path) as client:
        with pytest.raises(WorkerError) as caught:
            client.feedback("s", "up")
        assert caught.value.code == "AGENT-API-005"
        assert "bug" not in str(caught.value)
        assert client.infer("s", np.zeros(1, np.float32)).label == "up"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\xff\xff\xff\xff", "AGENT-API-001"),
        (b"\x00\x00\x00\x01x", "AGENT-API-001"),
        (b"\x00\x00\x00\x06\x00\x00\xff\xff{}", "AGENT-API-001"),
        (b"\x00\x00\x00\x06\x00\x00\x00\x02{}", "AGENT-API-002"),
        (b"\x00\x00\x00\x08\x00\x00\x00\x04\xff\xfe\xfd\xfc", "AGENT-API-002"),
        (_framed(b'{"op":"status","x":' + b"[" * 100_000), "AGENT-API-002"),
        (p.encode_frame(p.Infer(sample_id="s", shape=[3]), b"abc"), "AGENT-API-002"),
        (p.encode_frame(p.Status(), b"more"), "AGENT-API-002"),
    ],
)
def test_a_malformed_frame_gets_a_failure(path: Path, sent: bytes, code: str) -> None:
    """Every kind of bad frame is answered with its code."""
    with _connected(path) as raw:
        raw.sendall(sent)
        reply = _reply(raw)
        assert isinstance(reply, p.Failure)
        assert reply.code == code


def test_random_bytes_never_end_the_server(path: Path) -> None:
    """After a hundred garbage peers the server still answers."""
    rng = random.Random(4)
    for _ in range(100):
        with _connected(path) as raw, contextlib.suppress(OSError):
            raw.sendall(rng.randbytes(rng.randrange(1, 200)))
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
    with Client(path) as client:
        assert client.infer("s", np.zeros(1, np.float32)).label == "up"


def test_one_connection_too_many_is_told_so(path: Path) -> None:
    """The bound holds, and others go on."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(path)) for _ in range(MAX_CONNECTIONS)]
        for client in clients:
            client.infer("s", np.zeros(1, np.float32))
        with _connected(path) as raw:
            reply = _reply(raw)
        assert isinstance(reply, p.Failure)
        assert reply.code == "AGENT-API-004"
        assert clients[0].infer("s", np.zeros(1, np.float32)).label == "up"


def test_a_second_server_is_refused(path: Path) -> None:
    """A socket that somebody serves is not taken over."""
    with pytest.raises(WorkerError) as caught:
        Server(path, _handle, lambda _name, _body: None)
    assert caught.value.code == "AGENT-WORKER-011"


def test_a_silent_worker_is_a_timeout(tmp_path: Path) -> None:
    """A peer that never answers costs the deadline and no more."""
    place = tmp_path / "mute.sock"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(place))
        mute.listen()
        client = Client(place, timeout_s=0.2)
        with client, pytest.raises(WorkerError) as caught:
            client.status()
    assert caught.value.code == "AGENT-WORKER-001"
    assert caught.value.retryable


def test_no_worker_is_unreachable(tmp_path: Path) -> None:
    """Without a socket the error says how to start the agent."""
    with pytest.raises(WorkerError, match="edge-agent run"):
        Client(tmp_path / "agent.sock").status()

"""The HTTP server on real sockets, with good, slow, rude and broken clients."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.serve.connections import Listening
from edge_agent.serve.listen import listen_tcp, listen_unix
from edge_agent.serve.oip.access import Access
from edge_agent.serve.oip.http_reader import BodyBudget, Deadlines
from edge_agent.serve.oip.http_server import HttpPorts, HttpRules, HttpServer
from edge_agent.serve.oip.routes import Routes
from tests.fakes.served_models import NAME, SumModels

LIMIT = 16
"""Of connections; many, because a server takes a moment to forget one that ended."""
BODY_BYTES = 1 << 20
ROW = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
INFER = f"/v2/models/{NAME}/infer"


class Serving:
    """A server on a port of its own."""

    def __init__(
        self, access: Access | None = None, path: Path | None = None, **seconds: float
    ) -> None:
        """Start it."""
        self.models = SumModels()
        self.statuses: list[int] = []
        self.threads: list[threading.Thread] = []
        listener = listen_unix(path) if path else listen_tcp("127.0.0.1", 0)
        self.address = listener.getsockname()
        self.server = HttpServer(
            Listening(listener=listener, name="http", limit=LIMIT, path=path),
            HttpRules(
                access=access or Access(loopback_names=True),
                budget=BodyBudget(BODY_BYTES, BODY_BYTES),
                deadlines=Deadlines(**seconds),
            ),
            HttpPorts(
                answer=Routes(self.models, "1.2.3").answer,
                spawn=self.spawn,
                count=self.statuses.append,
            ),
        )
        self.spawn("http", self.server.run)

    def spawn(self, name: str, body: Callable[[], None]) -> None:
        """Start a thread that is joined in the end; a failed test waits for none."""
        thread = threading.Thread(target=body, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """End it, and see that nothing is left."""
        self.server.stop()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()

    @contextlib.contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """A bare connection."""
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        with socket.socket(family) as raw:
            raw.settimeout(20)
            raw.connect(self.address)
            yield raw

    def ask(
        self, method: str, path: str, document: object = None, **fields: str
    ) -> tuple[int, Any]:
        """Send one request over a connection of its own."""
        body = None if document is None else json.dumps(document)
        host, port = self.address
        with contextlib.closing(HTTPConnection(host, port, timeout=20)) as client:
            headers = {name.replace("_", "-"): text for name, text in fields.items()}
            client.request(method, path, body, headers)
            response = client.getresponse()
            return response.status, json.loads(response.read() or "null")


@pytest.fixture
def serving() -> Iterator[Serving]:
    """A server that is ended with the test."""
    made = Serving()
    yield made
    made.stop()


def _everything(raw: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := raw.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def _request(body: bytes, more: str = "", target: str = INFER) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def test_every_route_answers(serving: Serving) -> None:
    """With the protocol's documents, and 404, 405 and 400 where it says so."""
    ask = serving.ask
    assert ask("GET", "/v2") == (
        200,
        {
            "name": "shoal",
            "version": "1.2.3",
            "extensions": ["binary_tensor_data", "classification"],
        },
    )
    assert ask("GET", "/v2/health/live") == (200, {"live": True})
    assert ask("GET", "/v2/health/ready") == (200, {"ready": True})
    serving.models.is_ready = False
    assert ask("GET", "/v2/health/ready") == (400, {"ready": False})
    assert ask("GET", f"/v2/models/{NAME}/ready") == (
        200,
        {"name": NAME, "ready": True},
    )
    assert ask("GET", f"/v2/models/{NAME}/versions/2/ready")[0] == 200
    status, metadata = ask("GET", f"/v2/models/{NAME}/versions/3")
    assert (status, metadata["versions"]) == (200, ["3", "2"])
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert ask("POST", "/v2/repository/index", {"ready": True})[1][0] == {
        "name": NAME,
        "version": "3",
        "state": "READY",
        "reason": "",
    }
    assert ask("GET", f"/v2/models/{NAME}/versions/1/ready")[0] == 404
    assert ask("GET", "/v2/models/other")[0] == 404
    assert ask("GET", "/v2/models/%2e%2e/ready")[0] == 404
    assert ask("GET", "/")[0] == 404
    assert ask("POST", "/v2", {})[0] == 405
    status, error = ask("GET", INFER)
    assert status == 405
    assert error["error"].startswith("AGENT-HTTP-011")


def test_a_request_is_inferred(serving: Serving) -> None:
    """By any version, or by the one that is named."""
    document = {"id": "s1", "inputs": [ROW]}
    status, reply = serving.ask("POST", INFER, document)
    assert status == 200
    assert (reply["id"], reply["model_version"]) == ("s1", "3")
    assert reply["outputs"][0]["data"] == [6.0, -6.0]
    _, reply = serving.ask("POST", f"/v2/models/{NAME}/versions/2/infer", document)
    assert reply["parameters"]["release"] == 2


def test_errors_have_their_status(serving: Serving) -> None:
    """The client's are 4xx; what nobody can answer is 503; only a bug is 500."""
    ask = serving.ask
    assert ask("POST", INFER, {"inputs": [ROW | {"datatype": "BYTES"}]})[0] == 400
    nan = np.array([[np.nan, 1, 2]], np.float32).tobytes()
    header = json.dumps(
        {"inputs": [ROW | {"parameters": {"binary_data_size": 12}, "data": 0}]}
    )
    header = header.replace(', "data": 0', "")
    with serving.connected() as raw:
        length = f"Inference-Header-Content-Length: {len(header)}\r\n"
        raw.sendall(_request(header.encode() + nan, length + "Connection: close\r\n"))
        assert _everything(raw).startswith(b"HTTP/1.1 422 ")
    assert ask("POST", "/feedback", {"id": "s1", "label": "low"}) == (200, {})
    assert serving.models.told == [("s1", "low")]
    assert ask("POST", "/feedback", {"id": "unknown", "label": "low"})[0] == 503
    assert ask("POST", "/feedback", {"id": "s1"})[0] == 400
    assert ask("POST", INFER, {"inputs": [ROW]}, Content_Encoding="gzip")[0] == 415
    status, error = ask("POST", INFER, {"inputs": [ROW | {"data": [13, 0, 0]}]})
    assert status == 500
    assert "bug" not in error["error"]
    assert ask("GET", "/v2/health/live")[0] == 200


def test_requests_sent_without_waiting_are_answered_in_order(serving: Serving) -> None:
    """One connection, one request after the other, whatever arrives together."""
    bodies = [json.dumps({"id": f"n{n}", "inputs": [ROW]}).encode() for n in range(20)]
    sent = b"".join(_request(body) for body in bodies)
    sent += b"\r\n" + _request(bodies[0], "Connection: close\r\n")
    with serving.connected() as raw:
        for place in range(0, len(sent), 777):
            raw.sendall(sent[place : place + 777])
        replies = _everything(raw)
    ids = [part.split(b'"')[0] for part in replies.split(b'"id":"')[1:]]
    assert ids == [f"n{n}".encode() for n in [*range(20), 0]]


def test_a_large_body_waits_until_it_is_wanted(serving: Serving) -> None:
    """``Expect: 100-continue`` is answered first, or refused before the body comes."""
    body = json.dumps({"inputs": [ROW], "pad": "x" * 100_000}).encode()
    request = _request(body, "Expect: 100-continue\r\nConnection: close\r\n")
    with serving.connected() as raw:
        raw.sendall(request[: -len(body)])
        assert raw.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(body)
        assert _everything(raw).startswith(b"HTTP/1.1 200 ")
    with serving.connected() as raw:
        big = f"Expect: 100-continue\r\nContent-Length: {BODY_BYTES + 1}\r\n\r\n"
        raw.sendall(f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\n{big}".encode())
        assert _everything(raw).startswith(b"HTTP/1.1 413 ")


def test_a_refusal_reaches_who_is_still_sending(serving: Serving) -> None:
    """The connection is not reset while the client writes a body nobody wants."""
    with serving.connected() as raw:
        raw.sendall(_request(b"x" * (BODY_BYTES + 1)))
        assert b"AGENT-HTTP-004" in _everything(raw)


def test_all_bodies_together_are_bounded(serving: Serving) -> None:
    """While one large body is on its way, another is asked to come again."""
    half = BODY_BYTES // 2 + 1
    with serving.connected() as first:
        first.sendall(_request(b"x" * half, "Expect: 100-continue\r\n")[:-half])
        assert first.recv(100).startswith(b"HTTP/1.1 100 ")
        with serving.connected() as second:
            second.sendall(_request(b"x" * half))
            refused = _everything(second)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in refused
        first.sendall(b"x" * half)
        assert first.recv(100).startswith(b"HTTP/1.1 400 ")
    assert serving.ask("POST", INFER, {"inputs": [ROW]})[0] == 200


def test_a_connection_too_many_is_told_so_and_others_go_on(serving: Serving) -> None:
    """The bound holds; a place that becomes free is taken."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(serving.connected()) for _ in range(LIMIT)]
        for raw in held:
            raw.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 200 ")
        with serving.connected() as raw:
            assert b"AGENT-HTTP-007" in _everything(raw)
        held[0].sendall(b"GET /v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        _everything(held[0])
        deadline = time.monotonic() + 20
        while serving.ask("GET", "/v2/health/live")[0] != 200:
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"GET /v2 HT", b"408"), (_request(b"12345")[:-1], b"408"), (b"", b"")],
    ids=["head", "body", "nothing"],
)
def test_a_slow_client_is_given_up(sent: bytes, status: bytes) -> None:
    """A head or body that does not come in time, drop by drop or not at all."""
    serving = Serving(idle_s=0.3, head_s=0.3, body_s=0.3)
    with serving.connected() as raw:
        raw.sendall(sent)
        answer = _everything(raw)
    assert answer[9:12] == status
    serving.stop()


@pytest.mark.parametrize("pause_s", [0.05, 0.0001])
def test_drops_do_not_lengthen_the_deadline(pause_s: float) -> None:
    """A byte now and then keeps no connection, nor do bytes one after the other."""
    serving = Serving(idle_s=5, head_s=0.5, body_s=0.5)
    pause, started = threading.Event(), time.monotonic()
    with serving.connected() as raw, contextlib.suppress(OSError):
        raw.sendall(f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\n".encode())
        raw.sendall(f"Content-Length: {BODY_BYTES}\r\n\r\n".encode())
        while time.monotonic() < started + 20:
            raw.sendall(b"a")
            pause.wait(pause_s)
            raw.settimeout(0.0001)
            with contextlib.suppress(TimeoutError):
                if b"408" in raw.recv(100):
                    break
    assert time.monotonic() - started < 10
    serving.stop()


def test_a_head_has_its_bound(serving: Serving) -> None:
    """Fields without end are refused when the bound is reached."""
    with serving.connected() as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000)
        assert _everything(raw).startswith(b"HTTP/1.1 431 ")


def test_head_is_get_without_a_body(serving: Serving) -> None:
    """The length is that of the body that would come."""
    with serving.connected() as raw:
        raw.sendall(b"HEAD /v2/health/live HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = _everything(raw)
    assert b"\r\nContent-Length: 13\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_request_in_flight_is_answered_at_the_end() -> None:
    """What has arrived when the server stops is answered; other connections end."""
    serving = Serving()
    entered, leave = threading.Event(), threading.Event()
    ready = serving.models.ready

    def slow() -> bool:
        entered.set()
        assert leave.wait(20)
        return ready()

    serving.models.ready = slow  # type: ignore[method-assign]
    with serving.connected() as raw, serving.connected() as idle:
        idle.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")
        raw.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert entered.wait(20)
        stopping = threading.Thread(target=serving.server.stop)
        stopping.start()
        assert idle.recv(10) == b""
        leave.set()
        answer = _everything(raw)
        stopping.join(20)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer
    serving.stop()


def test_the_token_is_asked_for() -> None:
    """Without it, or with another, nothing is answered; with it any host is."""
    serving = Serving(Access(token=b"s3cret"))
    for fields in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}):
        status, error = serving.ask("GET", "/v2/health/live", **fields)
        assert status == 401
        assert "s3cret" not in error["error"]
    for scheme in ("Bearer", "bearer"):
        status, _ = serving.ask(
            "GET", "/v2", Authorization=f"{scheme} s3cret", Host="a"
        )
        assert status == 200
    serving.stop()


def test_web_pages_are_not_answered(serving: Serving) -> None:
    """Neither from a page of another site, nor under a name taken for 127.0.0.1."""
    assert serving.ask("GET", "/v2", Origin="http://example.org")[0] == 403
    assert serving.ask("GET", "/v2", Host="rebound.example.org")[0] == 403
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8", "[::1]:8080"):
        assert serving.ask("GET", "/v2", Host=host)[0] == 200


def test_a_unix_socket_is_its_owners(tmp_path: Path) -> None:
    """Only the owner may open it; it goes with the server."""
    path = tmp_path / "http.sock"
    serving = Serving(Access(), path)
    assert path.stat().st_mode & 0o777 == 0o600
    with serving.connected() as raw:
        raw.sendall(b"GET /v2 HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n")
        assert _everything(raw).startswith(b"HTTP/1.1 200 ")
    serving.stop()
    assert not path.exists()

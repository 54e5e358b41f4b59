"""Who has no credential: idle, slow, many and ambiguous, against a hub that serves."""

import contextlib
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edge_agent.wire.enrol import EnrolRequest
from hub.service import open_services
from tests.hub_process import (
    HubProcess,
    many_files,
    serve,
    serve_command,
    write_home,
)
from tests.mtls import new_request

WAIT_S = 30.0
IDLE = 1080
HALF_OPEN = 600
HALF_HEAD = b"GET /healthz HTTP/1.1\r\nHost: hub\r\nX-Slow: "
HALF_BODY = b"POST /enroll HTTP/1.1\r\nHost: hub\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """Serve a hub that may have 1,024 descriptors, and no more."""
    home, port = write_home(tmp_path_factory.mktemp("strangers"))
    with many_files(4096), serve(home, port) as made:
        yield made


def health(hub: HubProcess) -> int:
    """Return the status of a request of somebody else, who may have to try again."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            with httpx.Client(timeout=WAIT_S) as web:
                return web.get(f"http://127.0.0.1:{hub.port}/healthz").status_code
        except httpx.TransportError:
            assert hub.process.poll() is None, hub.log.read_text("utf-8")[-2000:]
            if time.monotonic() > deadline:
                raise


def enrol(hub: HubProcess, device: str) -> int:
    """Enrol a device and return the status: this needs the database's files."""
    services = open_services(hub.home)
    token = services.identity.issue_token(device, 600).token
    services.engine.dispose()
    body = EnrolRequest(device=device, token=token, csr=new_request()[1])
    content = {"device": body.device, "token": body.token, "csr": body.csr}
    with httpx.Client(timeout=WAIT_S) as web:
        url = f"http://127.0.0.1:{hub.port}/enroll"
        return web.post(url, json=content).status_code


def flood(hub: HubProcess, count: int, first: bytes = b"") -> list[socket.socket]:
    """Open connections that say ``first`` and then nothing."""
    held = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            one = hub.connect()
            held.append(one)
            one.sendall(first)
    return held


def wait_closed(held: list[socket.socket], timeout_s: float) -> int:
    """Wait until the other side has closed all of them; return how many are open."""
    poll = select.poll()
    opened = {one.fileno(): one for one in held}
    for number in opened:
        poll.register(number, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    while opened and (left_s := deadline - time.monotonic()) > 0:
        for number, _ in poll.poll(left_s * 1000):
            with contextlib.suppress(OSError):
                if opened[number].recv(4096):
                    continue
            poll.unregister(number)
            del opened[number]
    return len(opened)


def test_a_thousand_idle_connections_do_not_end_the_hub(hub: HubProcess) -> None:
    """Who sends nothing costs no one else an answer, and the hub no descriptor."""
    held = flood(hub, IDLE)
    time_to_tick = time.monotonic() + 3
    statuses = set()
    while time.monotonic() < time_to_tick:
        statuses.add(health(hub))

    assert statuses == {200}
    assert enrol(hub, "pump-1") == 200
    assert hub.process.poll() is None
    assert "Too many open files" not in hub.log.read_text("utf-8")
    for one in held:
        one.close()


def test_half_open_requests_do_not_end_the_hub(hub: HubProcess) -> None:
    """Heads and bodies that never end give way to who asks."""
    held = flood(hub, HALF_OPEN, HALF_HEAD) + flood(hub, HALF_OPEN, HALF_BODY)

    assert health(hub) == 200
    assert enrol(hub, "pump-2") == 200
    assert hub.process.poll() is None
    for one in held:
        one.close()


def test_the_slow_are_closed_in_time(hub: HubProcess) -> None:
    """Nothing said, half a head, half a body, and a request that is kept alive."""
    kept = b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"
    held = [
        *flood(hub, 5),
        *flood(hub, 5, HALF_HEAD),
        *flood(hub, 5, HALF_BODY),
        *flood(hub, 5, kept),
        *flood(hub, 5, kept + HALF_HEAD),
    ]

    assert wait_closed(held, WAIT_S) == 0
    for one in held:
        one.close()


def test_a_request_that_two_readers_understand_differently_is_refused(
    hub: HubProcess,
) -> None:
    """Content-Length beside Transfer-Encoding: 400, and the connection ends."""
    with hub.connect() as one:
        one.sendall(
            b"POST /enroll HTTP/1.1\r\nHost: hub\r\nContent-Length: 4\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"
        )
        answer = b""
        while part := one.recv(4096):
            answer += part

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_strangers_see_nothing_that_they_do_not_need(hub: HubProcess) -> None:
    """No description of the interface, no name of the server, no redirects."""
    with httpx.Client(base_url=f"http://127.0.0.1:{hub.port}") as web:
        paths = ("/openapi.json", "/docs", "/redoc", "/", "/healthz/", "/metrics")
        statuses = {path: web.get(path).status_code for path in paths}
        headers = web.get("/healthz").headers

    assert set(statuses.values()) == {404}, statuses
    assert "server" not in headers


def test_head_works_where_get_does(hub: HubProcess) -> None:
    """The same status and headers, without a body."""
    with httpx.Client(base_url=f"http://127.0.0.1:{hub.port}") as web:
        for path in ("/healthz", "/tuf/bundle.json", "/tuf/timestamp.json"):
            get, head = web.get(path), web.head(path)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert head.headers["content-length"] == get.headers["content-length"]


def test_strangers_do_not_lock_out_devices_that_enrol(hub: HubProcess) -> None:
    """14 anonymous requests a second, of every kind, and eight devices get through."""
    services = open_services(hub.home)
    devices = [f"pump-{number}" for number in range(8)]
    tokens = {one: services.identity.issue_token(one, 600).token for one in devices}
    services.engine.dispose()
    bad = {"device": "pump-1", "token": "guessed", "csr": "no"}
    nobody = {"certificate": "no", "csr": "no", "signature": "00"}
    statuses = []
    with httpx.Client(base_url=f"http://127.0.0.1:{hub.port}", timeout=WAIT_S) as web:
        for _ in range(14):  # two seconds of it, at once
            web.post("/enroll", json=bad)
            web.post("/renew", json=nobody)
        for device, token in tokens.items():
            body = {"device": device, "token": token, "csr": new_request()[1]}
            for _ in range(7):
                web.post("/enroll", json=bad)
                web.post("/renew", json=nobody)
            statuses.append(web.post("/enroll", json=body).status_code)

    assert statuses == [200] * 8


def test_the_hub_does_not_start_where_tokens_would_travel_in_plaintext(
    tmp_path: Path,
) -> None:
    """It says what it will not do, and how it would."""
    home, _ = write_home(tmp_path, 'host = "0.0.0.0"\n')
    command = serve_command(home, 1024)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 8
    assert "HUB-API-002" in done.stderr
    assert "api.tls" in done.stderr


def test_what_strangers_send_is_not_worth_a_line_in_the_log(hub: HubProcess) -> None:
    """Garbage, upgrades, half a body and a sudden end leave the log as it was."""
    before = hub.log.stat().st_size
    upgrade = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
    garbage = (
        b"\x16\x03\x01 garbage\r\n\r\n",
        upgrade + b"Connection: upgrade\r\n\r\n",
    )
    for one in flood(hub, 50, HALF_BODY):
        one.close()
    for text in garbage:
        held = flood(hub, 50, text)
        for one in held:
            one.close()

    assert health(hub) == 200
    assert hub.log.stat().st_size - before < 1000

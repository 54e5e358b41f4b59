"""The gate of the HTTP server: caps, fairness, and deadlines, over real sockets."""

import asyncio
import contextlib
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from edge_agent.base.clock import SystemClock
from hub.api.app import make_app
from hub.api.gate import Gate, GatedListener, GateLimits
from hub.api.protocol import gated_protocol
from hub.api.server import refuse_plaintext
from hub.config import ApiConfig, Home
from hub.descriptors import connections_allowed
from hub.errors import UnreachableError
from hub.home import create_home
from hub.identity.broker import http_certificate
from hub.identity.budget import MOST_KEYS, Allowance, Budgets, address_group

WAIT_S = 20.0
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"
CONTENT = bytes(24 << 20)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
DOWNLOAD = f"GET /artifacts/{DIGEST} HTTP/1.1\r\nHost: hub\r\n\r\n".encode()


@contextmanager
def served(
    folder: Path,
    limits: GateLimits,
    *,
    is_local: Callable[[str], bool] = lambda _: False,
    certificate: Path | None = None,
) -> Iterator[int]:
    """Serve artifacts behind a gate, in a thread; yield the port."""
    gate = Gate(limits, is_local)
    plain = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener = GatedListener.over(plain, gate)
    port = listener.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(folder, lambda: True),
            loop="asyncio",
            http=gated_protocol(gate),
            log_config=None,
            lifespan="off",
            ssl_certfile=certificate,
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener]))
    )
    thread.start()
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(WAIT_S)


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    """Connect from an address of this machine."""
    return socket.create_connection(
        ("127.0.0.1", port), WAIT_S, source_address=(source, 0)
    )


def is_answered(one: socket.socket) -> bool:
    """Ask on a connection; tell whether there is an answer."""
    with contextlib.suppress(OSError):
        one.sendall(REQUEST)
        return one.recv(4096).startswith(b"HTTP/1.1 200")
    return False


def ends(one: socket.socket) -> bool:
    """Tell whether the other side ends the connection in time, saying nothing."""
    try:
        return one.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def read_to_end(one: socket.socket, most: int = len(CONTENT)) -> int:
    """Return how many bytes still come before the connection ends, or ``most``."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while count < most and (part := one.recv(1 << 20)):
            count += len(part)
    return count


def test_one_address_has_a_cap_and_another_is_served(tmp_path: Path) -> None:
    """The fourth of one address is closed; the first of another is answered."""
    with served(tmp_path, GateLimits(connections=20, per_address=3)) as port:
        held = [connect(port) for _ in range(3)]
        assert all(is_answered(one) for one in held)
        beyond, other = connect(port), connect(port, "127.0.0.2")

        assert ends(beyond)
        assert is_answered(other)
        held.pop().close()
        deadline = time.monotonic() + WAIT_S
        while not is_answered(again := connect(port)):
            again.close()
            assert time.monotonic() < deadline
        for one in (*held, beyond, other, again):
            one.close()


def test_who_holds_most_gives_way_when_all_is_taken(tmp_path: Path) -> None:
    """The newcomer gets the place of who waits longest at the busiest address."""
    with served(tmp_path, GateLimits(connections=6, per_address=6)) as port:
        quiet = connect(port, "127.0.0.2")
        assert is_answered(quiet)
        held = [connect(port) for _ in range(5)]
        newcomer = connect(port, "127.0.0.3")

        assert is_answered(newcomer)
        assert ends(held[0])
        assert is_answered(held[-1])
        assert is_answered(quiet)
        for one in (*held, newcomer, quiet):
            one.close()


def test_a_proxy_on_this_machine_has_no_cap_of_its_own(tmp_path: Path) -> None:
    """It speaks for many; all connections together are bounded all the same."""
    limits = GateLimits(connections=20, per_address=2)
    with served(tmp_path, limits, is_local=lambda _: True) as port:
        held = [connect(port) for _ in range(10)]

        assert all(is_answered(one) for one in held)
        for one in held:
            one.close()


def test_a_handshake_has_a_deadline(tmp_path: Path) -> None:
    """Who opens a TLS connection and says nothing, or half a hello, is closed."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    limits = GateLimits(connections=20, per_address=20, wait_s=1.0)
    certificate = http_certificate(home, ["localhost"])
    with served(tmp_path, limits, certificate=certificate) as port:
        silent, half = connect(port), connect(port)
        half.sendall(b"\x16\x03\x01\x02\x00\x01")

        assert ends(silent)
        assert ends(half)
        context = ssl.create_default_context(cafile=str(home.ca_file))
        with context.wrap_socket(connect(port), server_hostname="localhost") as good:
            assert is_answered(good)
        silent.close()
        half.close()


def test_who_reads_nothing_is_cut_off_and_who_reads_slowly_is_not(
    tmp_path: Path,
) -> None:
    """An answer that nobody takes holds a connection for a while, not for ever."""
    (tmp_path / DIGEST).write_bytes(CONTENT)
    limits = GateLimits(connections=20, per_address=20, look_back_s=2.0)
    with served(tmp_path, limits) as port:
        deaf, slow = connect(port), connect(port)
        for one in (deaf, slow):
            one.sendall(DOWNLOAD)
        until = time.monotonic() + 6.0
        taken = 0
        while time.monotonic() < until:
            taken += len(slow.recv(16_384))
            threading.Event().wait(0.02)  # a reader is slow by taking its time
        heard = read_to_end(deaf)
        taken += read_to_end(slow, len(CONTENT) - taken)

        assert heard < len(CONTENT)
        assert taken >= len(CONTENT)
        deaf.close()
        slow.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "hub.example.org"])  # noqa: S104
def test_another_address_without_tls_is_refused(host: str) -> None:
    """It takes TLS, or leave by name."""
    with pytest.raises(UnreachableError, match="HUB-API-002"):
        refuse_plaintext(ApiConfig(host=host))
    refuse_plaintext(ApiConfig(host=host, tls=True))
    refuse_plaintext(ApiConfig(host=host, allow_plaintext=True))
    refuse_plaintext(ApiConfig(host="127.0.0.1"))
    refuse_plaintext(ApiConfig(host="::1"))


def test_addresses_are_grouped_as_they_are_given_out() -> None:
    """IPv6 counts by its /64, IPv4 in IPv6 clothes as IPv4."""
    assert address_group("2001:db8:1:2::1") == address_group("2001:db8:1:2:ffff::9")
    assert address_group("2001:db8:1:2::1") != address_group("2001:db8:1:3::1")
    assert address_group("::ffff:192.0.2.7") == address_group("192.0.2.7")
    assert address_group("fe80::1%eth0") == address_group("fe80::2")
    assert len(address_group("x" * 10_000)) <= 64


def test_budgets_are_apart_and_their_table_is_bounded() -> None:
    """Who spends its own leaves the others theirs; ten thousand keys are the most."""
    budgets = Budgets(SystemClock(), Allowance(burst=2, per_s=0.0))
    spent = [budgets.spend("a") for _ in range(3)]

    assert spent == [True, True, False]
    assert not budgets.has("a")
    assert budgets.has("b")
    for number in range(MOST_KEYS + 5):
        budgets.spend(str(number))
    assert len(budgets._left) == MOST_KEYS


def test_the_hub_keeps_descriptors_for_itself() -> None:
    """Connections and their files never take what database, log and broker need."""
    assert 8 <= connections_allowed() <= 512

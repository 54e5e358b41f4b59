"""Requests off one connection, each whole within a deadline and within its bounds.

Bytes that came behind a request stay for the next one, so a client may send several
without waiting (they are answered in order). A request that arrives in one piece costs
one call of the kernel. Not thread-safe: one owner.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from edge_agent.serve.kernel_limits import leave_until, limit_receive, limit_send
from edge_agent.serve.oip.body_room import BODIES
from edge_agent.serve.oip.http1 import END, MAX_HEAD_BYTES, Head, parse_head, too_large
from edge_agent.serve.oip.refusal import RefusedError

CHUNK_BYTES = 64 << 10
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a connection may be idle, and a head, a body and a reply may take."""

    idle_s: float = 60.0
    head_s: float = 5.0
    body_s: float = 10.0
    send_s: float = 10.0


class Reader:
    """Reads one connection."""

    def __init__(self, connection: socket.socket, deadlines: Deadlines) -> None:
        """Begin with nothing read."""
        self._connection = connection
        self._deadlines = deadlines
        self._buffer = b""
        connection.settimeout(None)
        limit_receive(connection, deadlines.idle_s)
        limit_send(connection, deadlines.send_s)

    def read_head(self) -> Head | None:
        """Return the next request's head; ``None`` at the end, or after a long wait.

        Raises:
            RefusedError: It is too large, not valid, or does not arrive in time.
            OSError: The connection broke.
        """
        if not self._buffer and not self._wait():
            return None
        # A client may send an empty line after a body: old ones did.
        self._buffer = self._buffer.lstrip(b"\r\n")
        end = self._buffer.find(END)
        if end < 0:
            end = self._read_on()
        if end < 0:
            return None
        if end > MAX_HEAD_BYTES:
            raise too_large(f"the head is larger than {MAX_HEAD_BYTES} bytes")
        head, self._buffer = self._buffer[:end], self._buffer[end + len(END) :]
        return parse_head(head)

    def read_body(self, head: Head) -> bytes | bytearray | None:
        """Return a request's body; ``None`` where the connection ended in it.

        Raises:
            RefusedError: It does not arrive in time.
            OSError: The connection broke.
        """
        size = head.body_bytes
        if len(self._buffer) >= size:
            body, self._buffer = self._buffer[:size], self._buffer[size:]
            return body
        if head.expects_continue and not self._buffer:
            self._connection.sendall(CONTINUE)
        deadline = time.monotonic() + self._deadlines.body_s
        whole = BODIES.take(size)
        got = len(self._buffer)
        whole[:got], self._buffer = self._buffer, b""
        view = memoryview(whole)
        with self._by(deadline):
            while got < size:
                step = self._connection.recv_into(view[got:])
                if not step:
                    return None
                got += step
                leave_until(self._connection, deadline)
        return whole

    def _wait(self) -> bool:
        try:
            self._buffer = self._connection.recv(CHUNK_BYTES)
        except BlockingIOError:
            return False
        return bool(self._buffer)

    def _read_on(self) -> int:
        """Read until the head is whole; return its length, -1 at the end."""
        deadline = time.monotonic() + self._deadlines.head_s
        with self._by(deadline):
            while (end := self._buffer.find(END)) < 0:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    return len(self._buffer)
                more = self._connection.recv(CHUNK_BYTES)
                if not more:
                    return -1
                self._buffer = (self._buffer + more).lstrip(b"\r\n")
                leave_until(self._connection, deadline)
        return end

    @contextlib.contextmanager
    def _by(self, deadline: float) -> Iterator[None]:
        """Read in pieces: what waits beyond the deadline is refused."""
        try:
            leave_until(self._connection, deadline)
            yield
        except TimeoutError as error:
            raise RefusedError(
                HTTPStatus.REQUEST_TIMEOUT,
                "AGENT-HTTP-006",
                "the request did not arrive in time",
            ) from error
        finally:
            self._connection.settimeout(None)


class BodyBudget:
    """How many bytes of bodies may be in memory at once, over all connections."""

    def __init__(self, body_bytes: int, total_bytes: int) -> None:
        """Bound one body and all of them."""
        self._body_bytes = body_bytes
        self._left = total_bytes
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Take a body's size while the block runs.

        Raises:
            RefusedError: ``AGENT-HTTP-004`` it is too large; ``AGENT-HTTP-008`` there
                are too many large ones now.
        """
        if size > self._body_bytes:
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "AGENT-HTTP-004",
                f"a body of {size} bytes; {self._body_bytes} are possible",
            )
        with self._lock:
            if size > self._left:
                raise RefusedError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "AGENT-HTTP-008",
                    "too many large requests at once",
                    cure="send it again",
                    headers=(("Retry-After", "1"),),
                )
            self._left -= size
        try:
            yield
        finally:
            with self._lock:
                self._left += size

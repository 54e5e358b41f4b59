"""The local API: a framed Unix socket that only its owner may open.

Invariants: whatever bytes come, the answer is a reply or an end of the connection,
never a traceback; a frame must arrive whole within a deadline; connections are bounded
and one too many is told so. The handler answers every request with a reply.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.base.exit_codes import ShoalError
from edge_agent.errors import SampleRejectedError, WorkerError
from edge_agent.serve.protocol import (
    BAD_FRAME,
    LENGTH,
    Failure,
    Reply,
    Request,
    check_data,
    decode_frame,
    encode_frame,
    read_length,
    request_decoder,
)
from edge_agent.serve.socket_path import socket_address

API_FAILED = "api.request.failed"
MAX_CONNECTIONS = 16
IDLE_S = 300.0
FRAME_S = 5.0
BACKLOG = 16

Handler = Callable[[Request, bytes], Reply]
Spawn = Callable[[str, Callable[[], None]], object]
"""Start a thread: its name and body. The composition root owns the threads."""

log = logging.getLogger(__name__)


class Server:
    """Listens from construction on; :meth:`run` accepts."""

    def __init__(self, path: Path, handler: Handler, spawn: Spawn) -> None:
        """Bind the socket, removing one that nobody listens on any more.

        Raises:
            WorkerError: Another process serves there (``AGENT-WORKER-011``), or the
                socket cannot be made (``AGENT-WORKER-003``).
        """
        self._path = path
        self._handler = handler
        self._spawn = spawn
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = _listen(path)

    def run(self) -> None:
        """Accept connections until :meth:`stop`."""
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                # Out of descriptors, most likely: wait for connections to end.
                self._stopping.wait(0.5)
                continue
            self._take(connection)

    def stop(self) -> None:
        """End all connections and remove the socket."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _take(self, connection: socket.socket) -> None:
        if not self._slots.acquire(blocking=False):
            with connection, contextlib.suppress(OSError):
                connection.settimeout(FRAME_S)
                connection.sendall(encode_frame(_TOO_MANY))
            return
        with self._lock:
            self._open.add(connection)
        self._spawn("api-connection", lambda: self._serve(connection))

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                while self._answer(connection) and not self._stopping.is_set():
                    pass
        finally:
            with self._lock:
                self._open.discard(connection)
            self._slots.release()

    def _answer(self, connection: socket.socket) -> bool:
        """Answer one request; false when the connection is of no more use."""
        try:
            body = read_frame(connection, idle_s=IDLE_S, frame_s=FRAME_S)
        except WorkerError as error:
            _send(connection, _failure(error))
            return False
        if body is None:
            return False
        _send(connection, self._reply(body))
        return True

    def _reply(self, body: bytes) -> Reply:
        try:
            request, data = decode_frame(body, request_decoder)
            check_data(request, data)
            return self._handler(request, data)
        except ShoalError as error:
            return _failure(error)
        except Exception:
            log.exception(API_FAILED)
            return Failure(
                code="AGENT-API-005",
                text="the worker failed at this request",
                cure="its log tells why",
            )


_TOO_MANY = Failure(
    code="AGENT-API-004",
    text=f"{MAX_CONNECTIONS} connections are open already",
    cure="close one, or send several requests over one",
    retryable=True,
)


def read_frame(
    connection: socket.socket, *, idle_s: float, frame_s: float
) -> bytes | None:
    """Return a frame's body, or ``None`` at the end of the connection.

    Raises:
        WorkerError: The frame is too large or does not arrive in time.
        OSError: The connection broke, or was idle for too long.
    """
    connection.settimeout(idle_s)
    first = connection.recv(1)
    if not first:
        return None
    deadline = time.monotonic() + frame_s
    prefix = first + _read_exactly(connection, LENGTH.size - 1, deadline)
    return _read_exactly(connection, read_length(prefix), deadline)


def _read_exactly(connection: socket.socket, count: int, deadline: float) -> bytes:
    buffer = bytearray(count)
    view, got = memoryview(buffer), 0
    while got < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise WorkerError("AGENT-API-003", "frame did not arrive in time")
        connection.settimeout(left)
        try:
            step = connection.recv_into(view[got:])
        except TimeoutError:
            continue
        if not step:
            raise WorkerError(BAD_FRAME, "connection ended inside a frame")
        got += step
    return bytes(buffer)


def _send(connection: socket.socket, reply: Reply) -> None:
    connection.settimeout(FRAME_S)
    connection.sendall(encode_frame(reply))


def _failure(error: ShoalError) -> Failure:
    return Failure(
        code=error.code,
        text=error.text[:4096],
        cure=error.cure[:4096],
        retryable=error.retryable,
        reason=error.reason if isinstance(error, SampleRejectedError) else "",
    )


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_address(path) as address:
            _remove_stale(path, address)
            listener.bind(address)
        # Nobody can connect before listen(), so there is no gap before the chmod.
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise WorkerError(
            "AGENT-WORKER-003", f"cannot listen on {path}: {error}"
        ) from error
    except WorkerError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path, address: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise WorkerError(
        "AGENT-WORKER-011",
        f"another process already serves {path}",
        cure="stop the other agent, or give this one its own device.state_dir",
    )

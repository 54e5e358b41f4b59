"""The local API: a framed Unix socket that only its owner may open.

Invariants: whatever bytes come, the answer is a reply or an end of the connection,
never a traceback; a frame must arrive whole within a deadline; connections are bounded
and one too many is told so. The handler answers every request with a reply.
"""

import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.base.exit_codes import ShoalError
from edge_agent.errors import SampleRejectedError, WorkerError
from edge_agent.serve.connections import Connections, Listening, Spawn, Talk
from edge_agent.serve.listen import listen_unix
from edge_agent.serve.protocol import (
    BAD_FRAME,
    LENGTH,
    TOO_MANY_CONNECTIONS,
    Failure,
    Reply,
    Request,
    check_data,
    decode_frame,
    encode_frame,
    read_length,
    request_decoder,
)

API_FAILED = "api.request.failed"
MAX_CONNECTIONS = 16
IDLE_S = 300.0
FRAME_S = 5.0

Handler = Callable[[Request, bytes], Reply]
AfterReply = Callable[[], None]
"""Called on the connection's thread when a reply has been sent."""

log = logging.getLogger(__name__)


class Server:
    """Listens from construction on; :meth:`run` accepts."""

    def __init__(
        self,
        path: Path,
        handler: Handler,
        spawn: Spawn,
        after_reply: AfterReply = lambda: None,
    ) -> None:
        """Bind the socket, removing one that nobody listens on any more.

        Raises:
            WorkerError: Another process serves there (``AGENT-WORKER-011``), or the
                socket cannot be made (``AGENT-WORKER-003``).
        """
        self._handler = handler
        self._after_reply = after_reply
        where = Listening(
            listener=listen_unix(path), path=path, name="api", limit=MAX_CONNECTIONS
        )
        talk = Talk(serve=self._serve, refuse=lambda one: _send(one, _TOO_MANY))
        self._connections = Connections(where, talk, spawn)

    def run(self) -> None:
        """Accept connections until :meth:`stop`."""
        self._connections.run()

    def stop(self) -> None:
        """Answer what has come, end all connections and remove the socket."""
        self._connections.stop()

    def _serve(self, connection: socket.socket) -> None:
        while self._answer(connection) and not self._connections.stopping:
            pass

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
        self._after_reply()
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
    code=TOO_MANY_CONNECTIONS,
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

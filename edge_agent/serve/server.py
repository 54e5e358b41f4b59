"""The local API: a framed Unix socket that only its owner may open.

Invariants: whatever bytes come, the answer is a reply or an end of the connection,
never a traceback; a frame must arrive whole within a deadline; connections are bounded
and one too many is told so. The handler answers every request with a reply.
"""

import logging
import socket
from collections.abc import Callable
from pathlib import Path

from edge_agent.base.exit_codes import ShoalError
from edge_agent.base.relief import relievable
from edge_agent.errors import SampleRejectedError, WorkerError
from edge_agent.serve.connections import Connections, Listening, Spawn, Talk
from edge_agent.serve.framing import Frames
from edge_agent.serve.listen import listen_unix
from edge_agent.serve.parts import check_data
from edge_agent.serve.protocol import (
    TOO_MANY_CONNECTIONS,
    Body,
    Failure,
    Reply,
    Request,
    decode_frame,
    encode_frame,
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
        talk = Talk(serve=self._serve, refuse=_refuse)
        self._connections = Connections(where, talk, spawn)

    def run(self) -> None:
        """Accept connections until :meth:`stop`."""
        self._connections.run()

    def stop(self) -> None:
        """Answer what has come, end all connections and remove the socket."""
        self._connections.stop()

    def _serve(self, connection: socket.socket) -> None:
        self._go_on(connection, Frames(connection, frame_s=FRAME_S))

    def _go_on(self, connection: socket.socket, frames: Frames) -> None:
        while self._answer(connection, frames) and not self._connections.stopping:
            pass

    def _answer(self, connection: socket.socket, frames: Frames) -> bool:
        """Answer one request; false when the connection is of no more use."""
        try:
            body = frames.read(idle_s=IDLE_S)
        except WorkerError as error:
            frames.send(encode_frame(_failure(error)))
            return False
        if body is None:
            return False
        reply = relievable(
            lambda: self._connections.hand_to_thread(
                connection, lambda: self._stand_in(connection, frames, body)
            ),
            lambda: self._reply(body),
        )
        self._send(frames, reply)
        return True

    def _stand_in(self, connection: socket.socket, frames: Frames, body: Body) -> None:
        """Answer for a thread that hangs at ``body``, and serve in its place."""
        self._send(frames, self._reply(body))
        self._go_on(connection, frames)

    def _send(self, frames: Frames, reply: Reply) -> None:
        frames.send(encode_frame(reply))
        self._after_reply()

    def _reply(self, body: Body) -> Reply:
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


def _refuse(connection: socket.socket) -> None:
    Frames(connection, frame_s=FRAME_S).send(encode_frame(_TOO_MANY))


def _failure(error: ShoalError) -> Failure:
    return Failure(
        code=error.code,
        text=error.text[:4096],
        cure=error.cure[:4096],
        retryable=error.retryable,
        reason=error.reason if isinstance(error, SampleRejectedError) else "",
    )

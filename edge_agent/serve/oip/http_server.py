"""The Open Inference Protocol over HTTP: threads and sockets around an answerer.

Invariants: whatever bytes come, the answer is a response or an end of the connection,
never a traceback; a head and a body arrive whole within a deadline or are given up;
connections, heads, bodies and all bodies together are bounded. Requests of one
connection are answered in order, one at a time.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from edge_agent.base.relief import relievable
from edge_agent.errors import AgentError
from edge_agent.serve.connections import Connections, Listening, Spawn, Talk
from edge_agent.serve.oip.access import Access
from edge_agent.serve.oip.http1 import Head, Response, render
from edge_agent.serve.oip.http_reader import BodyBudget, Deadlines, Reader
from edge_agent.serve.oip.messages import Refused
from edge_agent.serve.oip.refusal import RefusedError

HTTP_FAILED = "http.request.failed"
MAX_CONNECTIONS = 32
BODIES_AT_ONCE = 4
LINGER_S = 1.0

Body = bytes | bytearray
Answerer = Callable[[Head, Body], Response]
"""Answers one request; a refusal is raised as :class:`RefusedError`."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPorts:
    """What a server needs of the worker.

    ``after_reply`` is called on the connection's thread when a reply has been sent,
    ``count`` with the status of each.
    """

    answer: Answerer
    spawn: Spawn
    count: Callable[[int], None] = lambda _status: None
    after_reply: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRules:
    """Who is let in, how large bodies may be, and how long things may take."""

    access: Access
    budget: BodyBudget
    deadlines: Deadlines = Deadlines()


class HttpServer:
    """Serves one listener; several may share a budget."""

    def __init__(self, where: Listening, rules: HttpRules, ports: HttpPorts) -> None:
        """Take over a listening socket; :meth:`run` accepts."""
        self._rules = rules
        self._ports = ports
        talk = Talk(serve=self._serve, refuse=self._refuse)
        self._connections = Connections(where, talk, ports.spawn)

    def run(self) -> None:
        """Accept connections until :meth:`stop`."""
        self._connections.run()

    def stop(self) -> None:
        """Answer what has come, then end all connections."""
        self._connections.stop()

    def _serve(self, connection: socket.socket) -> None:
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._go_on(connection, Reader(connection, self._rules.deadlines))

    def _go_on(self, connection: socket.socket, reader: Reader) -> None:
        while self._exchange(connection, reader) and not self._connections.stopping:
            pass

    def _stand_in(
        self, connection: socket.socket, reader: Reader, head: Head, body: Body
    ) -> None:
        """Answer for a thread that hangs at a request, and serve in its place."""
        if self._conclude(connection, head, self._answer(head, body)):
            self._go_on(connection, reader)

    def _exchange(self, connection: socket.socket, reader: Reader) -> bool:
        """Answer one request; false when the connection is of no more use."""
        try:
            head = reader.read_head()
            if head is None:
                return False
            self._rules.access.check(head)
            with self._rules.budget.hold(head.body_bytes):
                body = reader.read_body(head)
                if body is None:
                    return False
                response = self._answer_relievably(connection, reader, head, body)
        except RefusedError as error:
            # Where the next request begins is not known, or not worth reading up to.
            self._send(connection, refused(error), keep_alive=False)
            _linger(connection)
            return False
        return self._conclude(connection, head, response)

    def _answer_relievably(
        self, connection: socket.socket, reader: Reader, head: Head, body: Body
    ) -> Response:
        return relievable(
            lambda: self._connections.hand_to_thread(
                connection, lambda: self._stand_in(connection, reader, head, body)
            ),
            lambda: self._answer(head, body),
        )

    def _conclude(
        self, connection: socket.socket, head: Head, response: Response
    ) -> bool:
        """Send a response; false when the connection is of no more use."""
        keep_alive = head.keep_alive and not self._connections.stopping
        self._send(
            connection,
            response,
            keep_alive=keep_alive,
            with_body=head.method != "HEAD",
        )
        self._ports.after_reply()
        return keep_alive

    def _answer(self, head: Head, body: Body) -> Response:
        try:
            return self._ports.answer(head, body)
        except RefusedError as error:
            return refused(error)
        except Exception:
            log.exception(HTTP_FAILED)
            return error_response(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "AGENT-HTTP-014: the worker failed at this request; its log tells why",
            )

    def _send(
        self,
        connection: socket.socket,
        response: Response,
        *,
        keep_alive: bool,
        with_body: bool = True,
    ) -> None:
        self._ports.count(response.status)
        connection.sendall(render(response, keep_alive=keep_alive, with_body=with_body))

    def _refuse(self, connection: socket.socket) -> None:
        error = RefusedError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "AGENT-HTTP-007",
            f"{MAX_CONNECTIONS} connections are open already",
            cure="close one, or send several requests over one",
            headers=(("Retry-After", "1"),),
        )
        connection.settimeout(self._rules.deadlines.send_s)
        self._send(connection, refused(error), keep_alive=False)


def refused(error: RefusedError) -> Response:
    """Return the response that says why."""
    return error_response(error.status, said(error), error.headers)


def error_response(
    status: HTTPStatus, text: str, fields: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Return a response in the protocol's form of an error."""
    return Response(
        status=status, body=msgspec.json.encode(Refused(error=text)), fields=fields
    )


def said(error: AgentError) -> str:
    """Return code, text and cure of an error in one line."""
    line = f"{error.code}: {error.text}"
    return f"{line}; {error.cure}" if error.cure else line


def _linger(connection: socket.socket) -> None:
    """Read on a little after the last response.

    A connection closed with bytes unread is reset, and the reset may overtake the
    response.
    """
    deadline = time.monotonic() + LINGER_S
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(1 << 16):
                return

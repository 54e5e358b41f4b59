"""Accepting connections: a thread for each, a bounded number, an orderly end.

Invariants: one connection too many is told so and closed; a bug in what serves one
ends that connection and nothing else; one thread at a time serves one, and another can
take it over; :meth:`Connections.stop` lets requests that have arrived be answered, for
a while. What is said over a connection is the business of whoever gives ``serve`` and
``refuse``.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.base.relief import Relieved

CONNECTION_FAILED = "api.connection.failed"
DRAIN_S = 2.0
NO_DESCRIPTORS_S = 0.5

log = logging.getLogger(__name__)

Spawn = Callable[[str, Callable[[], None]], object]
"""Start a thread: its name and body. The composition root owns the threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where connections come from and how many there may be.

    ``path`` is a Unix socket's file, which goes with its listener.
    """

    listener: socket.socket
    name: str
    limit: int
    path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """What is done with a connection; both return when it is of no more use.

    ``serve`` raises ``Relieved`` where another thread serves it by now.
    """

    serve: Callable[[socket.socket], None]
    refuse: Callable[[socket.socket], None]


class Connections:
    """One listener and its connections."""

    def __init__(self, where: Listening, talk: Talk, spawn: Spawn) -> None:
        """Take over a listening socket; :meth:`run` accepts."""
        self._where = where
        self._talk = talk
        self._spawn = spawn
        self._slots = threading.BoundedSemaphore(where.limit)
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()

    @property
    def stopping(self) -> bool:
        """Whether the present request is the last of its connection."""
        return self._stopping.is_set()

    def run(self) -> None:
        """Accept connections until :meth:`stop`."""
        while not self._stopping.is_set():
            try:
                connection, _ = self._where.listener.accept()
            except OSError:
                # Out of descriptors, most likely: wait for connections to end.
                self._stopping.wait(NO_DESCRIPTORS_S)
                continue
            self._take(connection)

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Take no more; wait for requests that have come, then end all connections."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._where.listener.shutdown(socket.SHUT_RDWR)
        self._where.listener.close()
        if self._where.path is not None:
            self._where.path.unlink(missing_ok=True)
        # Readers see the end of their connection; replies still go out.
        self._shut(socket.SHUT_RD)
        with self._changed:
            self._changed.wait_for(lambda: not self._open, drain_s)
        self._shut(socket.SHUT_RDWR)

    def hand_to_thread(
        self, connection: socket.socket, serve: Callable[[], None]
    ) -> None:
        """Serve an open connection in a new thread, until ``serve`` returns.

        Where there can be no more threads, the connection ends.
        """
        try:
            self._spawn(
                f"{self._where.name}-connection", lambda: self._hold(connection, serve)
            )
        except RuntimeError:
            # No memory for one more.
            self._end(connection)

    def _shut(self, how: int) -> None:
        with self._changed:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(how)

    def _take(self, connection: socket.socket) -> None:
        if not self._slots.acquire(blocking=False):
            with connection, contextlib.suppress(OSError):
                self._talk.refuse(connection)
            return
        with self._changed:
            self._open.add(connection)
        self.hand_to_thread(connection, lambda: self._talk.serve(connection))

    def _hold(self, connection: socket.socket, serve: Callable[[], None]) -> None:
        try:
            with contextlib.suppress(OSError):
                serve()
        except Relieved:
            return
        except Exception:
            log.exception(CONNECTION_FAILED)
        self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        connection.close()
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()
        self._slots.release()

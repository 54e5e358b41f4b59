"""Frames over a connected socket, with deadlines that the kernel keeps.

Most frames arrive in one piece: they cost one call of the kernel to read and one to
send, where Python's own time-outs cost three or more each. A frame that comes in pieces
is read the slow way, against one deadline for all of it. Used by both ends.
"""

import socket
import time

from edge_agent.errors import WorkerError
from edge_agent.serve.kernel_limits import leave_until, limit_receive, limit_send
from edge_agent.serve.protocol import BAD_FRAME, LENGTH, Body, read_length

CHUNK_BYTES = 64 << 10
LATE = "AGENT-API-003"


class Frames:
    """One connection; one owner."""

    def __init__(self, connection: socket.socket, *, frame_s: float) -> None:
        """Take over a connected socket.

        Args:
            connection: Whoever gave it closes it.
            frame_s: How long the rest of a frame may take, in seconds, once its first
                bytes are there, and each piece of a frame that is sent.
        """
        self._connection = connection
        self._frame_s = frame_s
        self._buffer = b""
        self._idle_s = 0.0
        connection.settimeout(None)
        limit_send(connection, frame_s)

    def read(self, *, idle_s: float) -> Body | None:
        """Return the next frame's body, or ``None`` at the end of the connection.

        Args:
            idle_s: How long its first bytes may take.

        Raises:
            WorkerError: The frame is too large or does not arrive in time.
            OSError: The connection broke, or was idle for too long.
        """
        if not self._buffer:
            if idle_s != self._idle_s:
                limit_receive(self._connection, idle_s)
                self._idle_s = idle_s
            self._buffer = self._connection.recv(CHUNK_BYTES)
            if not self._buffer:
                return None
        if len(self._buffer) < LENGTH.size:
            self._buffer = bytes(self._fill(LENGTH.size))
        end = LENGTH.size + read_length(self._buffer[: LENGTH.size])
        if len(self._buffer) < end:
            # Large, most likely: it is not copied.
            whole, self._buffer = self._fill(end), b""
            return memoryview(whole)[LENGTH.size :]
        body, self._buffer = self._buffer[LENGTH.size : end], self._buffer[end:]
        return body

    def send(self, frame: bytes) -> None:
        """Send a whole frame.

        Raises:
            OSError: The connection broke, or the other end does not read.
        """
        self._connection.sendall(frame)

    def _fill(self, size: int) -> bytearray:
        """Return what was read and what is missing of ``size`` bytes."""
        whole = bytearray(size)
        got = len(self._buffer)
        whole[:got] = self._buffer
        view = memoryview(whole)
        deadline = time.monotonic() + self._frame_s
        try:
            while got < size:
                leave_until(self._connection, deadline)
                step = self._connection.recv_into(view[got:])
                if not step:
                    raise WorkerError(BAD_FRAME, "connection ended inside a frame")
                got += step
        except TimeoutError as error:
            raise WorkerError(
                "AGENT-API-003", "frame did not arrive in time"
            ) from error
        finally:
            self._connection.settimeout(None)
        return whole

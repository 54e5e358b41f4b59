"""Time limits that the kernel keeps for a blocking socket.

Python's own time-outs cost a poll and a change of mode at every call; these cost
nothing until they are over. A call that is too late raises ``BlockingIOError``. What
comes in pieces is read with Python's, against one deadline for all of it.
"""

import socket
import struct
import time

_TIMEVAL = struct.Struct("@ll")


def limit_receive(connection: socket.socket, seconds: float) -> None:
    """Bound how long one call may wait for bytes."""
    _limit(connection, socket.SO_RCVTIMEO, seconds)


def limit_send(connection: socket.socket, seconds: float) -> None:
    """Bound how long one call may wait for room."""
    _limit(connection, socket.SO_SNDTIMEO, seconds)


def leave_until(connection: socket.socket, deadline: float) -> None:
    """Let the next call wait until ``deadline`` (monotonic), by Python's own time-out.

    Raises:
        TimeoutError: It is over, however quickly the next bytes might come.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)


def _limit(connection: socket.socket, option: int, seconds: float) -> None:
    whole = int(seconds)
    # Zero would mean for ever.
    rest = max(int((seconds - whole) * 1e6), 0 if whole else 1000)
    connection.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(whole, rest))

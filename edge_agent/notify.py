"""What a service manager hears of the agent: ready, alive, stopping (``sd_notify``).

One datagram a message to the socket that ``NOTIFY_SOCKET`` names; without it every call
does nothing. The watchdog is fed at most every third of ``WATCHDOG_USEC``, so a message
that is lost costs nothing. The supervisor calls it whenever the worker has answered the
watchdog's inference: ready and alive mean that this device can infer.
"""

import contextlib
import os
import socket
from collections.abc import Mapping

from edge_agent.base.clock import Clock

FEEDS_PER_PERIOD = 3


class ServiceManager:
    """The other end of ``NOTIFY_SOCKET``, if there is one."""

    def __init__(self, environment: Mapping[str, str], clock: Clock) -> None:
        """Read what the service manager asked for.

        Args:
            environment: The process's; a watchdog that is meant for another process
                (``WATCHDOG_PID``) is not fed.
            clock: Steady time.
        """
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._is_ready = False
        self._fed = float("-inf")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period = environment.get("WATCHDOG_USEC", "") if mine else ""
        self._period_s = int(period) / 1e6 if period.isdecimal() else 0.0

    def ready(self) -> None:
        """Tell, once, that the agent does its work."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1")

    def alive(self) -> None:
        """Feed the watchdog; call it as often as you like while all is well."""
        now = self._clock.mono()
        if self._period_s and now - self._fed >= self._period_s / FEEDS_PER_PERIOD:
            self._fed = now
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Tell that the agent is winding down."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A leading @ stands for an abstract socket's null byte.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.sendto(message.encode(), address)

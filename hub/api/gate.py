"""The gate before the HTTP server: how many connections, whose, and for how long.

uvicorn bounds neither: it accepts until the process has no descriptor left, and waits
without end for a TLS handshake, a head, a body, or a reader who does not read. The
gate counts at ``accept``, before a byte is read, and closes what is overdue:

* At most ``connections`` in all. Where that is reached, a newcomer takes the place of
  the connection that has waited longest without a whole request, of the address that
  holds most of these; where all are being answered, the oldest of an address that has
  at least two more than the newcomer's.
* At most ``per_address`` of another machine (IPv6: of a /64). This machine's own are
  exempt: a proxy here speaks for many.
* :data:`WAIT_S` for handshake, head and body, each; an answer must be read at
  :data:`SLOWEST_BYTES_S` or more, which the kernel's count of acknowledged bytes tells.

Everything here runs on the event loop of the server's thread.
"""

import asyncio
import contextlib
import logging
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edge_agent.base.loopback import is_loopback
from hub.identity.budget import address_group

log = logging.getLogger(__name__)

API_FULL = "api.full"

WAIT_S = 15.0
SLOWEST_BYTES_S = 100
"""As slow as a device lets a download be before it gives up."""
LOOK_BACK_S = 60.0
SWEEP_S = 1.0
LEAVING = 32
"""So many more may be open for a moment: those that were told to go, and are going."""
LOG_AGAIN_S = 60.0
_AT_ONCE = 64
_ACKED = struct.Struct("=120xQ")
"""``tcpi_bytes_acked`` of the kernel's ``struct tcp_info`` (linux/tcp.h)."""


class Phase(StrEnum):
    """What a connection is waited for."""

    HANDSHAKE = "handshake"
    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """How many connections at once, in all and of one address."""

    connections: int
    per_address: int
    wait_s: float = WAIT_S
    look_back_s: float = LOOK_BACK_S


class Held:
    """A connection that was let in."""

    def __init__(self, sock: "Accepted", address: str, now: float) -> None:
        """Begin with the handshake."""
        self.address = address
        self.phase = Phase.HANDSHAKE
        self.since = now
        self._sock = sock
        self._transport: asyncio.Transport | None = None
        self._looked_at, self._acked = now, 0

    def serve(self, transport: asyncio.Transport, now: float) -> None:
        """Note that the handshake is over."""
        self._transport = transport
        self.enter(Phase.HEAD, now)

    def enter(self, phase: Phase, now: float) -> None:
        """Note what is waited for now; the same again changes nothing."""
        if phase is not self.phase:
            self.phase, self.since = phase, now
            self._looked_at, self._acked = now, self._sock.acked()

    def is_overdue(self, now: float, limits: GateLimits) -> bool:
        """Tell whether it has had its time."""
        if self.phase not in {Phase.ANSWER, Phase.KEPT}:
            return now - self.since > limits.wait_s
        if now - self._looked_at < limits.look_back_s:
            return False
        acked = self._sock.acked()
        slow = acked - self._acked < SLOWEST_BYTES_S * limits.look_back_s
        self._looked_at, self._acked = now, acked
        return slow

    def end(self) -> None:
        """Cut it off; what it has is free within this turn of the loop or the next."""
        if self._transport is not None:
            self._transport.abort()
            return
        # In the handshake the loop's own transport is out of reach: it sees the end.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


class Accepted(socket.socket):
    """A connection's socket, which tells when it is closed."""

    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        """Close it, and tell so once."""
        super().close()
        told, self.on_close = self.on_close, None
        if told is not None:
            told()

    def acked(self) -> int:
        """Return how many bytes the other side has acknowledged (0: not known)."""
        try:
            info = self.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size)
            return int(_ACKED.unpack(info)[0])
        except (OSError, struct.error):
            return 0


class Gate:
    """Lets connections in and out."""

    def __init__(
        self, limits: GateLimits, is_local: Callable[[str], bool] = is_loopback
    ) -> None:
        """Bound connections; those that ``is_local`` names have no cap of their own."""
        self._limits, self._is_local = limits, is_local
        self._open: dict[Held, None] = {}
        self._by_peer: dict[Any, Held] = {}
        self._of_address: Counter[str] = Counter()
        self._sweeping = False
        self._logged_at = float("-inf")
        self.refused = 0

    def find(self, peer: object) -> Held | None:
        """Return the connection with an address and port."""
        return self._by_peer.get(peer)

    def is_crowded(self) -> bool:
        """Tell whether those that were told to go have to go first."""
        return len(self._open) >= self._limits.connections + LEAVING

    def admit(self, sock: Accepted, peer: tuple[Any, ...]) -> bool:
        """Let a connection in, or tell that it must be closed."""
        host = str(peer[0])
        address = address_group(host)
        now = time.monotonic()
        many = self._of_address[address] >= self._limits.per_address
        if (many and not self._is_local(host)) or not self._make_room(address):
            self._refuse(address, now)
            return False
        held = Held(sock, address, now)
        self._open[held] = None
        self._by_peer[peer] = held
        self._of_address[address] += 1
        sock.on_close = lambda: self._forget(held, peer)
        self._start_sweeping()
        return True

    def _make_room(self, address: str) -> bool:
        if len(self._open) < self._limits.connections:
            return True
        waiting = [held for held in self._open if held.phase is not Phase.ANSWER]
        from_whom = Counter(held.address for held in waiting) or self._of_address
        most = max(from_whom, key=from_whom.__getitem__)
        if not waiting and from_whom[most] < self._of_address[address] + 2:
            return False
        ending = min(
            (held for held in waiting or self._open if held.address == most),
            key=lambda held: held.since,
        )
        # Not chosen again before it is gone.
        ending.enter(Phase.ANSWER, time.monotonic())
        ending.end()
        return True

    def _refuse(self, address: str, now: float) -> None:
        self.refused += 1
        if now - self._logged_at >= LOG_AGAIN_S:
            self._logged_at = now
            facts = {"address": address, "open": len(self._open)}
            log.warning(API_FULL, extra={**facts, "refused": self.refused})

    def _forget(self, held: Held, peer: object) -> None:
        self._open.pop(held, None)
        if self._by_peer.get(peer) is held:
            del self._by_peer[peer]
        self._of_address[held.address] -= 1
        if self._of_address[held.address] <= 0:
            del self._of_address[held.address]

    def _start_sweeping(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now = time.monotonic()
        for held in list(self._open):
            if held.is_overdue(now, self._limits):
                held.end()
        self._sweeping = False
        if self._open:
            self._start_sweeping()


class GatedListener(socket.socket):
    """A listening socket whose connections have gone through a gate."""

    gate: Gate

    @classmethod
    def over(cls, listener: socket.socket, gate: Gate) -> "GatedListener":
        """Take a listening socket over."""
        made = cls(fileno=listener.detach())
        made.gate = gate
        return made

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection that is let in.

        Raises:
            BlockingIOError: There is none now.
        """
        for _ in range(_AT_ONCE):
            if self.gate.is_crowded():
                break
            plain, peer = super().accept()
            sock = Accepted(fileno=plain.detach())
            if self.gate.admit(sock, peer):
                return sock, peer
            sock.close()
        raise BlockingIOError

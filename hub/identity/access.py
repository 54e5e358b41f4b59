"""Which devices may say nothing any more: revoked, or their certificate has expired.

The broker looks at a certificate once, when a session begins, and at its list of
revocations when it is told to. So the hub judges by what it issued, whatever the broker
lets through. A device that has been given another certificate is heard again at once.
Called by ingest, the ticker, the block server, and whoever writes the broker's rules.
"""

from collections.abc import Callable

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from edge_agent.base.clock import EARLIEST_WALL, Clock
from hub.storage import identity as store


class Access:
    """Reads who is denied, as it is now. Thread-safe."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        expires: bool = True,
        is_clock_right: Callable[[], bool] = lambda: True,
    ) -> None:
        """Judge the devices of one database.

        Args:
            engine: The database.
            clock: Tells whether a certificate has expired.
            expires: Whether sessions need a certificate: on a plaintext broker nobody
                shows one, and only what was revoked is denied.
            is_clock_right: While it says no, nothing expires: a wrong clock must not
                end a fleet.
        """
        self._engine, self._clock = engine, clock
        self._expires, self._is_clock_right = expires, is_clock_right

    def denied(self, conn: Connection) -> set[str]:
        """Return the devices that had a certificate and have none that counts now."""
        return store.denied_devices(conn, self._judged_at())

    def is_denied(self, device: str) -> bool:
        """Tell whether a device is one of them; what cannot be read is one."""
        try:
            with self._engine.connect() as conn:
                return store.is_denied(conn, device, self._judged_at())
        except SQLAlchemyError:
            return True

    def _judged_at(self) -> float:
        now = self._clock.wall()
        judges = self._expires and now >= EARLIEST_WALL and self._is_clock_right()
        return now if judges else 0.0

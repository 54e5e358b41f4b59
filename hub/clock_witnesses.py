"""Times that have been, as far as the hub itself stored or signed them."""

from collections.abc import Callable, Sequence

from sqlalchemy import Engine, func, select

from edge_agent.wire.trust import read_signed_at
from hub.clock_trust import HubClock
from hub.config import Home
from hub.errors import HubError
from hub.releases.tuf_repo import TufRepo
from hub.storage.tables import DEVICES, RECORDS


def witnesses_of(engine: Engine, tuf: TufRepo) -> Callable[[], Sequence[float]]:
    """Return what reads the newest stored and the newest signed time."""

    def read() -> Sequence[float]:
        newest = select(RECORDS.c.received_at).order_by(RECORDS.c.id.desc()).limit(1)
        with engine.connect() as conn:
            heard = conn.scalar(select(func.max(DEVICES.c.last_seen_at)))
            found = [heard or 0.0, conn.scalar(newest) or 0.0]
        return [*found, signed_at(tuf)]

    return read


def signed_at(tuf: TufRepo) -> float:
    """Return when the present timestamp was signed (0: there is none)."""
    try:
        return read_signed_at(tuf.present().timestamp.signed.unrecognized_fields)
    except HubError:
        return 0.0


def open_clock(home: Home, engine: Engine, tuf: TufRepo) -> HubClock:
    """Return the clock of a home folder, with what it stored and signed beside it."""
    return HubClock(home.path, witnesses_of(engine, tuf))

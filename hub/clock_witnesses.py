"""Times that have been, as far as the hub itself stored or signed them."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Engine, func, select

from edge_agent.wire.errors import UNREADABLE
from edge_agent.wire.trust import read_signed_at
from hub.clock_trust import HubClock
from hub.config import Home
from hub.releases.metadata_set import TIMESTAMP_FILE
from hub.releases.tuf_repo import TufRepo
from hub.storage.tables import DEVICES, RECORDS


class _Signed(msgspec.Struct):
    signed: dict[str, Any]


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
    """Return when the present timestamp was signed (0: there is none).

    The file is replaced in one step, so this waits for nobody who signs.
    """
    try:
        body = (tuf.folder / TIMESTAMP_FILE).read_bytes()
        return read_signed_at(msgspec.json.decode(body, type=_Signed).signed)
    except (OSError, *UNREADABLE):
        return 0.0


def open_clock(home: Home, engine: Engine, tuf: TufRepo) -> HubClock:
    """Return the clock of a home folder, with what it stored and signed beside it."""
    return HubClock(home.path, witnesses_of(engine, tuf))

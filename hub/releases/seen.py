"""What devices say of the metadata that they trust, for a hub that was restored.

Called by :mod:`hub.service` and the command line, which give it to
:class:`hub.releases.tuf_repo.TufRepo`.
"""

from collections.abc import Callable

from sqlalchemy import Engine

from edge_agent.wire.control import TufVersions
from hub.config import Home
from hub.releases.roles import MAX_LEAP, MAX_ROOT_LEAP
from hub.releases.tuf_repo import TufRepo
from hub.storage.db import open_database
from hub.storage.devices import highest_trusted

_LEAP = TufVersions(
    root=MAX_ROOT_LEAP, timestamp=MAX_LEAP, snapshot=MAX_LEAP, targets=MAX_LEAP
)


def seen_in_home(home: Home, tuf: TufRepo) -> Callable[[], TufVersions]:
    """Return the same for a home folder whose database is not open."""

    def read() -> TufVersions:
        if not home.config_file.exists():
            return TufVersions()
        engine = open_database(home.database_url(home.read_config()))
        try:
            return seen_by_devices(engine, tuf)()
        finally:
            engine.dispose()

    return read


def seen_by_devices(engine: Engine, tuf: TufRepo) -> Callable[[], TufVersions]:
    """Return what reads the highest versions that devices report."""

    def read() -> TufVersions:
        present = tuf.present()
        own = TufVersions(
            root=present.root.signed.version,
            timestamp=present.timestamp.signed.version,
            snapshot=present.snapshot.signed.version,
            targets=present.targets.signed.version,
        )
        with engine.connect() as conn:
            return highest_trusted(conn, own, _LEAP)

    return read

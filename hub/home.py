"""Creating the hub's home folder: keys, trust anchor, first metadata, configuration.

``hub.toml`` is written last: a folder that has it is complete. Nothing is ever
overwritten. Called by ``hub init``.
"""

from datetime import UTC, datetime

from edge_agent.base.clock import Clock, SystemClock
from hub.config import Home, HubConfig
from hub.errors import ConflictError, HubError, NotFoundError
from hub.files import write_durably
from hub.identity.ca import open_authority
from hub.releases.ceremony import Ceremony, NewKeys
from hub.storage.db import open_database

CONFIG = """\
# The Shoal hub. Every key has a default; configs/hub.example.toml shows them all.

[broker]
host = "127.0.0.1"
port = 1883

[api]
host = "127.0.0.1"
port = 8770
"""


def read_home(home: Home) -> HubConfig:
    """Read the configuration of a home folder.

    Raises:
        NotFoundError: There is no hub in this folder (``HUB-HOME-003``).
        SettingsError: The configuration cannot be used.
    """
    if not home.config_file.exists():
        raise NotFoundError(
            "HUB-HOME-003",
            f"there is no hub in {home.path}",
            cure="create one with `hub init`, or name its folder with --home",
        )
    return home.read_config()


def refuse_present(home: Home) -> None:
    """Refuse a folder that is taken.

    Raises:
        ConflictError: There is a hub in this folder already (``HUB-HOME-001``).
    """
    if home.config_file.exists():
        raise ConflictError(
            "HUB-HOME-001",
            f"{home.path} holds a hub already",
            cure="choose another folder: hub --home DIR init",
        )


def has_keys(home: Home) -> bool:
    """Tell whether the keys of a home folder were made already."""
    return Ceremony(home, SystemClock()).tuf.exists


def create_keys(home: Home, clock: Clock, keys: NewKeys) -> None:
    """Create the keys and the trust anchor: the part of a home that needs a ceremony.

    Raises:
        HubError: The folder cannot be written (``HUB-HOME-004``).
    """
    try:
        home.path.mkdir(parents=True, exist_ok=True)
        Ceremony(home, clock).create(keys)
    except OSError as error:
        raise HubError("HUB-HOME-004", f"{home.path}: {error}") from error


def create_home(home: Home, clock: Clock, keys: NewKeys | None = None) -> None:
    """Create everything that ``hub serve`` needs; keys that are there stay.

    Without ``keys`` those of root and targets have no passphrase: for trying out.

    Raises:
        ConflictError: There is a hub in this folder already (``HUB-HOME-001``).
        HubError: The folder cannot be written (``HUB-HOME-002``).
    """
    refuse_present(home)
    try:
        for folder in (home.path, home.tuf, home.artifacts, home.releases, home.jobs):
            folder.mkdir(parents=True, exist_ok=True)
        create_keys(home, clock, keys or NewKeys())
        open_authority(home, datetime.fromtimestamp(clock.wall(), UTC))
        write_durably(home.config_file, CONFIG.encode())
    except OSError as error:
        raise HubError("HUB-HOME-002", f"{home.path}: {error}") from error
    open_database(home.database_url(home.read_config())).dispose()

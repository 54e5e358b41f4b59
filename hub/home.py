"""Creating the hub's home folder: keys, trust anchor, first metadata, configuration.

``hub.toml`` is written last: a folder that has it is complete. Nothing is ever
overwritten. Called by ``hub init``.
"""

from datetime import UTC, datetime

from edge_agent.base.clock import Clock
from hub.config import Home, HubConfig
from hub.errors import ConflictError, HubError, NotFoundError
from hub.files import write_durably
from hub.identity.ca import open_authority
from hub.releases.keys import create_keys
from hub.releases.signer import Signer
from hub.releases.tuf_repo import TufRepo
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


def create_home(home: Home, clock: Clock) -> None:
    """Create everything that ``hub serve`` needs.

    Raises:
        ConflictError: There is a hub in this folder already (``HUB-HOME-001``).
        HubError: The folder cannot be written (``HUB-HOME-002``).
    """
    if home.config_file.exists():
        raise ConflictError(
            "HUB-HOME-001",
            f"{home.path} holds a hub already",
            cure="choose another folder: hub --home DIR init",
        )
    try:
        for folder in (home.path, home.tuf, home.artifacts, home.releases, home.jobs):
            folder.mkdir(parents=True, exist_ok=True)
        create_keys(home.keys)
        now = datetime.fromtimestamp(clock.wall(), UTC)
        anchor = TufRepo(home.tuf, Signer(home.keys)).create(now)
        write_durably(home.root_file, anchor)
        open_authority(home, now)
        write_durably(home.config_file, CONFIG.encode())
    except OSError as error:
        raise HubError("HUB-HOME-002", f"{home.path}: {error}") from error
    open_database(home.database_url(home.read_config())).dispose()

"""Making a revocation, or an expiry, hold at the broker too, as soon as it is one.

``hub broker config`` and ``hub broker revocations`` leave a note in the home folder of
where the broker's files are. With it ``hub devices revoke`` writes list and rules and
has the broker read them, and ``hub serve`` does whenever somebody is denied, or is no
longer: the rules end what a session may do, since mosquitto looks at a certificate
only when one begins.
"""

import logging
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Engine

from edge_agent.base.clock import Clock
from hub.config import Home
from hub.errors import HubError
from hub.files import write_durably
from hub.identity.broker import reload_broker, rules, write_revocations
from hub.identity.service import IdentityService
from hub.storage import identity as store
from hub.storage.db import transaction

log = logging.getLogger(__name__)

DEVICES_DENIED = "device.denied"
BROKER_INFORMED = "broker.informed"
BROKER_NOT_INFORMED = "broker.not_informed"

LOOK_S = 2.0
_NOTE = "broker-folder"
_SHOWN = 20


class Informed(StrEnum):
    """What became of telling the broker."""

    RELOADED = "reloaded"
    """It reads list and rules again."""
    WRITTEN = "written"
    """They are written; it could not be told to read them."""
    FAILED = "failed"
    """They could not be written."""
    UNKNOWN = "unknown"
    """Nobody has said where they are."""


def remember_broker(home: Home, folder: Path) -> None:
    """Note where the broker's files are.

    Raises:
        HubError: The note cannot be written (``HUB-BROKER-002``).
    """
    try:
        write_durably(home.path / _NOTE, f"{folder.resolve()}\n".encode())
    except OSError as error:
        raise HubError(
            "HUB-BROKER-002",
            f"cannot note where the broker's files are: {error.strerror or error}",
            cure="let the one who runs this write the hub's home folder",
        ) from error


def broker_folder(home: Home) -> Path | None:
    """Return where the broker's files are, if it was noted."""
    try:
        text = (home.path / _NOTE).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return Path(text) if text else None


def inform_broker(home: Home, identity: IdentityService) -> Informed:
    """Write list and rules where the broker has them, and have it read them."""
    folder = broker_folder(home)
    if folder is None:
        return Informed.UNKNOWN
    try:
        write_revocations(folder, identity)
    except HubError:
        return Informed.FAILED
    return Informed.RELOADED if reload_broker(folder) else Informed.WRITTEN


def what_to_run(home: Home, informed: Informed) -> str:
    """Return in words what became of telling the broker, and what is left to do."""
    folder = broker_folder(home)
    match informed:
        case Informed.RELOADED:
            return "the broker reads it now"
        case Informed.WRITTEN:
            return (
                f"the broker's files in {folder} are new; now, as its user or root:"
                "  systemctl reload mosquitto"
            )
        case Informed.FAILED:
            return (
                f"the broker does not know it yet: {folder} cannot be written; as one"
                f" who may:  hub broker revocations --to {folder}"
            )
        case Informed.UNKNOWN:
            return (
                "the broker does not know it yet, if it asks for certificates:"
                "  hub broker revocations --to DIR"
            )


class Enforcement:
    """Keeps devices and broker to who is denied. Called by the ticker."""

    def __init__(
        self, engine: Engine, home: Home, identity: IdentityService, clock: Clock
    ) -> None:
        """Look at one database, and at the broker of one home folder."""
        self._engine, self._home = engine, home
        self._identity, self._clock = identity, clock
        self._denied: set[str] = set()
        self._look_at = float("-inf")
        self._failing = False

    def tick(self) -> None:
        """Look whether somebody is denied now, or is no longer, and see to it."""
        now = self._clock.mono()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        with self._engine.connect() as conn:
            denied = self._identity.access.denied(conn)
        if fresh := denied - self._denied:
            with transaction(self._engine) as conn:
                store.note_silenced(conn, fresh)
            shown = sorted(fresh)[:_SHOWN]
            log.info(DEVICES_DENIED, extra={"count": len(fresh), "devices": shown})
        self._denied = denied
        self._inform(rules(sorted(denied)).encode())

    def _inform(self, wanted: bytes) -> None:
        folder = broker_folder(self._home)
        if folder is None:
            return
        try:
            there = (folder / "acl").read_bytes()
        except OSError:
            there = b""
        if there == wanted:
            return
        informed = inform_broker(self._home, self._identity)
        if informed is Informed.RELOADED:
            self._failing = False
            log.info(BROKER_INFORMED, extra={"folder": str(folder)})
        elif not self._failing:
            self._failing = True
            cure = what_to_run(self._home, informed)
            log.warning(BROKER_NOT_INFORMED, extra={"cure": cure})

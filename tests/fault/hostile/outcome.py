"""What may become of what a hostile device sends, and the registry of attempts."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fault.hostile.scene import Scene


class Outcome(StrEnum):
    """What the hub, or the broker for it, did with it."""

    QUARANTINED = "quarantined"
    """Set aside with its reason; ``hub ingest quarantine`` shows it."""
    KEPT = "kept"
    """It is within all bounds, and taken in as what this device says of itself."""
    DROPPED = "acked and dropped"
    """The device is told that it is done; nothing of it is kept."""
    IGNORED = "ignored"
    """Nothing happens."""
    REFUSED = "refused"
    """The broker or the HTTP server does not take it."""
    BELIEVED = "believed"
    """It had an effect beyond the device that sent it: never right."""


Act = Callable[["Scene"], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way to speak badly; ``disk_mib`` bounds what the hub may write for it."""

    name: str
    sends: str
    right: tuple[Outcome, ...]
    act: Act
    disk_mib: float
    restarts: bool
    exports: bool


ATTEMPTS: dict[str, Attempt] = {}
DISK_MIB = 6.0
"""SQLite's write-ahead log alone is reused from 4 MiB on."""


def attempt(
    *right: Outcome,
    disk_mib: float = DISK_MIB,
    restarts: bool = False,
    exports: bool = False,
) -> Callable[[Act], Act]:
    """Put a function into the registry, under its name; it returns what it saw.

    Args:
        right: What may become of it.
        disk_mib: What database, write-ahead log and log may grow by.
        restarts: Whether a restart of the hub is part of what must work.
        exports: Whether ``hub export`` is.
    """

    def register(act: Act) -> Act:
        name = act.__name__.replace("_", "-")
        sends = " ".join((act.__doc__ or "").split()).rstrip(".")
        ATTEMPTS[name] = Attempt(
            name=name,
            sends=sends,
            right=right,
            act=act,
            disk_mib=disk_mib,
            restarts=restarts,
            exports=exports,
        )
        return act

    return register

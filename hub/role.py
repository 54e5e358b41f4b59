"""What a process of ``hub serve`` does: everything, or its part; one of each.

One process with everything is the default. Split, one process has the control role
(presence, twins, monitoring, rollouts, HTTP) and others share out the ingest
(:mod:`hub.ingest.shard`). Locks in the home folder see to it that nobody steps a
rollout twice and no two processes take the same part; they die with their process.
"""

import fcntl
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO

from hub.config import Home
from hub.errors import ConflictError, HubError
from hub.identity.ca import HUB_USER
from hub.ingest.shard import Shard
from hub.locks import flock_holder, name_holder

CONTROL_LOCK = "serve-control.lock"
INGEST_LOCK = "serve-ingest.lock"


class Role(StrEnum):
    """Which threads a process has."""

    ALL = "all"
    CONTROL = "control"
    INGEST = "ingest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A role, and for ingest which share of the devices."""

    role: Role = Role.ALL
    shard: Shard = field(default_factory=Shard)

    @property
    def ingests(self) -> bool:
        """Whether it takes in batches."""
        return self.role is not Role.CONTROL

    @property
    def controls(self) -> bool:
        """Whether it does everything else."""
        return self.role is not Role.INGEST

    @property
    def suffix(self) -> str:
        """What is added to the hub's name to the broker: one connection a name."""
        return "" if self.controls else shard_suffix(self.shard.number)


def shard_suffix(number: int) -> str:
    """Return what is added to the hub's name by the ingest process ``number``."""
    return f"-ingest-{number}"


def shard_user(number: int) -> str:
    """Return the name in the certificate of the ingest process ``number``."""
    return HUB_USER + shard_suffix(number)


def take_part(home: Home, part: Part) -> list[IO[bytes]]:
    """Lock a part until the returned files are closed or the process ends.

    Raises:
        ConflictError: Another process has it (``HUB-SERVE-001``).
        HubError: The home folder cannot be written (``HUB-SERVE-002``).
    """
    held: list[IO[bytes]] = []
    for name, how in _locks(part):
        try:
            file = (home.path / name).open("ab")
            held.append(file)
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            release_part(held)
            raise ConflictError(
                "HUB-SERVE-001",
                f"another `hub serve` has this part of {home.path} ({name}):"
                f" {name_holder(flock_holder(home.path / name))}",
                cure="stop it first; or give each process its own --role and --shard",
            ) from None
        except OSError as error:
            release_part(held)
            raise HubError(
                "HUB-SERVE-002",
                f"cannot lock {home.path / name}: {error.strerror or error}",
                cure="let the hub's user write its home folder",
            ) from error
    return held


def release_part(held: list[IO[bytes]]) -> None:
    """Give a part back."""
    for file in held:
        file.close()


def _locks(part: Part) -> list[tuple[str, int]]:
    """Return which files are locked, and how: shards share what "all" has alone."""
    locks: list[tuple[str, int]] = []
    if part.controls:
        locks.append((CONTROL_LOCK, fcntl.LOCK_EX))
    if part.role is Role.ALL:
        locks.append((INGEST_LOCK, fcntl.LOCK_EX))
    elif part.ingests:
        locks.append((INGEST_LOCK, fcntl.LOCK_SH))
        own = f"serve{shard_suffix(part.shard.number)}.lock"
        locks.append((own, fcntl.LOCK_EX))
    return locks

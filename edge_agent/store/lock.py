"""One agent a state folder: an advisory lock that dies with its process."""

import fcntl
import os
from pathlib import Path
from typing import IO

from edge_agent.base.exit_codes import ExitCode
from edge_agent.errors import StoreError
from edge_agent.store.disk import disk_error

LOCK_FILE = "agent.lock"


class LockedError(StoreError):
    """Another agent works in this state folder."""

    exit_code = ExitCode.CONFLICT


def take_lock(state_dir: Path) -> IO[str]:
    """Lock a state folder until the returned file is closed or the process ends.

    Raises:
        LockedError: Another agent holds it (AGENT-STORE-009).
        StoreError: The folder is not writable.
    """
    path = state_dir / LOCK_FILE
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="ascii")
    except OSError as error:
        raise disk_error(
            error, cure="device.state_dir must be a folder that the agent may write"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read(32).strip() or "another process"
        file.close()
        raise LockedError(
            "AGENT-STORE-009",
            f"an agent (process {owner}) already works in {state_dir}",
            cure="stop it first, or give this one its own device.state_dir",
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def is_locked(state_dir: Path) -> bool:
    """Tell whether an agent works in a state folder now."""
    try:
        with (state_dir / LOCK_FILE).open("r", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
    except OSError:
        return False

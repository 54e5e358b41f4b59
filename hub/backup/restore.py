"""Making a home of a backup: all of it, in one step, or nothing.

What comes out says that it was restored (``restored.json``), because devices may have
heard newer versions and numbers than it knows of.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from edge_agent.wire import codec
from edge_agent.wire.errors import WireError
from edge_agent.wire.types import Instant, Message, Short
from hub.backup.manifest import (
    DATABASE_FILE,
    Manifest,
    Progress,
    cannot_write,
    read_manifest,
)
from hub.backup.sealed import unseal
from hub.backup.verify import check_content, copy_files
from hub.config import Home
from hub.errors import ConflictError, RefusedError
from hub.files import sha256_of, sync_file, sync_folder, write_durably
from hub.scratch import scratch_folder
from hub.storage.url import sqlite_file

RESTORED_FILE = "restored.json"
_SHOWN = 10


class Restored(Message, frozen=True, kw_only=True):
    """``restored.json``: when a home was made of which backup, and of what time."""

    at: Instant
    backup: Short
    created_at: Instant


def read_restored(home: Home) -> Restored | None:
    """Return what says that a home was made of a backup, ``None`` if it was not."""
    try:
        data = (home.path / RESTORED_FILE).read_bytes()
        return codec.decode(data, Restored)
    except (OSError, WireError):
        return None


def check_keys(
    path: Path, manifest: Manifest, passphrases: Iterable[bytes] | None
) -> dict[str, bytes]:
    """Check the file with the keys, and open it where there are passphrases.

    Raises:
        RefusedError: It is not this backup's, or damaged (``HUB-BACKUP-004``).
        DeniedError: No passphrase opens it (``HUB-BACKUP-005``).
    """
    found = {} if passphrases is None else unseal(path, passphrases, manifest.id)
    refuse([] if _digest(path) == manifest.keys_sha256 else [f"{path} is damaged"])
    return found


def refuse(problems: list[str]) -> None:
    """Refuse a backup with something wrong.

    Raises:
        RefusedError: There is something (``HUB-BACKUP-008``).
    """
    if problems:
        more = len(problems) - _SHOWN
        lines = [*problems[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise RefusedError(
            "HUB-BACKUP-008",
            f"the backup is not whole: {'; '.join(lines)}",
            cure="take another copy of it, or an older backup",
        )


def restore_backup(
    folder: Path,
    home: Home,
    keys: dict[str, bytes],
    now: float,
    progress: Progress,
) -> Manifest:
    """Make a home of a backup; it has its name only when it is whole.

    Args:
        folder: The backup.
        home: A folder that does not exist, or is empty.
        keys: What :func:`check_keys` returned.
        now: Wall time.
        progress: Is told of bytes that were copied.

    Raises:
        ConflictError: The home, or a database outside of it, is there already
            (``HUB-BACKUP-009``).
        RefusedError: The backup is not whole (``HUB-BACKUP-008``).
        HubError: It cannot be written (``HUB-BACKUP-003``).
    """
    refuse_used(home.path)
    manifest = read_manifest(folder)
    place = home.path.absolute()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(place.parent) as part:
            refuse(copy_files(folder, manifest, part, progress))
            refuse(check_content(part, manifest))
            _finish(Home(part), keys, manifest, now)
            _move_database(Home(part), place)
            part.rename(place)
        sync_folder(place.parent)
    except OSError as error:
        raise cannot_write(home.path, error) from error
    return manifest


def refuse_used(path: Path) -> None:
    """Refuse a home that is there, unless it is an empty folder.

    Raises:
        ConflictError: It is there (``HUB-BACKUP-009``).
    """
    if path.is_symlink() or (
        path.exists() and (not path.is_dir() or any(path.iterdir()))
    ):
        raise _taken(path)


def _taken(path: Path) -> ConflictError:
    return ConflictError(
        "HUB-BACKUP-009",
        f"{path} is there already, and a backup is never restored over anything",
        cure="move it away, or name a new folder: hub --home DIR backup restore",
    )


def _finish(home: Home, keys: dict[str, bytes], manifest: Manifest, now: float) -> None:
    for path in (home.keys, home.tuf, home.artifacts, home.releases, home.jobs):
        path.mkdir(mode=0o700, exist_ok=True)
    for name, data in keys.items():
        file = home.path / name
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_durably(file, data)
    marker = Restored(at=now, backup=manifest.id, created_at=manifest.created_at)
    write_durably(home.path / RESTORED_FILE, codec.encode_pretty(marker))
    for path in (*home.path.rglob("*"), home.path):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if path.is_dir():
            sync_folder(path)


def _move_database(home: Home, place: Path) -> None:
    """Put a database where the configuration has it, if it has another place.

    Args:
        home: The home on its way.
        place: What it is going to be.
    """
    config = home.read_config()
    target = sqlite_file(home.database_url(config))
    if not config.database or target is None:
        return
    source = home.path / DATABASE_FILE
    if target.is_relative_to(place):
        inside = home.path / target.relative_to(place)
        inside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        source.rename(inside)
        return
    if target.exists():
        raise _taken(target)
    with scratch_folder(target.parent) as part:
        copy = part / DATABASE_FILE
        shutil.copyfile(source, copy)
        copy.chmod(0o600)
        sync_file(copy)
        copy.rename(target)
    sync_folder(target.parent)
    source.unlink()


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""

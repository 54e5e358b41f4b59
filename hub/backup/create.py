"""Making a backup while the hub serves.

One cut: under the lock of the TUF repository the metadata and the keys are copied and a
read transaction begins, which is the state of the database that is copied. A release's
folder appears before its row is committed, and an artifact before metadata names it;
neither is ever changed. So what metadata and rows of the cut name is there to be copied
afterwards, in any order, however much is published meanwhile.
"""

import importlib.metadata
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, Engine, make_url, text

from edge_agent.wire import codec
from hub.backup.manifest import (
    CONFIG_FILE,
    DATABASE_FILE,
    MANIFEST_FILE,
    FileEntry,
    Manifest,
    Progress,
    cannot_write,
    copy_file,
    digest_file,
)
from hub.backup.sealed import MAX_BYTES, seal
from hub.config import Home, HubConfig
from hub.errors import ConflictError, RefusedError
from hub.files import sha256_of, sync_folder, write_durably
from hub.identity.journal import JOURNAL_FILE
from hub.releases.deltas import DELTAS_FILE
from hub.releases.tuf_repo import TufRepo
from hub.scratch import scratch_folder
from hub.storage import releases as store

_ID_BYTES = 8
_PAGES_A_STEP = 1024
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The hub that is copied: its home, configuration, database and metadata."""

    home: Home
    config: HubConfig
    engine: Engine
    tuf: TufRepo


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a backup goes, and the passphrase that its keys get."""

    folder: Path
    keys: Path
    passphrase: bytes = field(repr=False)


def create_backup(
    source: Source, target: Target, now: float, progress: Progress
) -> Manifest:
    """Copy a hub, whether it serves or not.

    The folder has its name only when it is whole; its keys lie beside it before.

    Returns:
        What was copied.

    Raises:
        ConflictError: Folder or file are there already (``HUB-BACKUP-006``).
        RefusedError: What the database or the metadata name is missing or damaged
            (``HUB-BACKUP-007``).
        HubError: It cannot be written (``HUB-BACKUP-003``).
    """
    refuse_present(target.folder, target.keys)
    try:
        target.folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(target.folder.absolute().parent) as part:
            copy = _Copy(source, part, progress)
            copy.take_cut()
            manifest = copy.seal_and_name(target, now)
            write_durably(part / MANIFEST_FILE, codec.encode_pretty(manifest))
            for folder in (part, *filter(Path.is_dir, part.rglob("*"))):
                sync_folder(folder)
            part.rename(target.folder)
        sync_folder(target.folder.absolute().parent)
    except OSError as error:
        target.keys.unlink(missing_ok=True)
        raise cannot_write(target.folder, error) from error
    except BaseException:
        target.keys.unlink(missing_ok=True)
        raise
    return manifest


def refuse_present(*paths: Path) -> None:
    """Refuse to write over anything.

    Raises:
        ConflictError: It is there already (``HUB-BACKUP-006``).
    """
    for path in paths:
        if path.exists() or path.is_symlink():
            raise ConflictError(
                "HUB-BACKUP-006",
                f"{path} is there already",
                cure="name another place, such as one with the day in it",
            )


def size_of(home: Home) -> int:
    """Return about how many bytes a backup copies, for showing how far it is."""
    files = [home.path / DATABASE_FILE]
    for folder in (home.artifacts, home.releases, home.tuf):
        files += folder.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


class _Copy:
    """A backup on its way."""

    def __init__(self, source: Source, part: Path, progress: Progress) -> None:
        self._source, self._part, self._progress = source, part, progress
        self._files: list[FileEntry] = []
        self._keys: dict[str, bytes] = {}
        self._revision = ""
        self._database: Literal["sqlite", "postgresql"] = "sqlite"

    def take_cut(self) -> None:
        """Copy everything but the keys, which are read."""
        home, tuf = self._source.home, self._source.tuf
        with self._source.engine.connect() as conn:
            with tuf.changing() as present:
                # The first statement begins what is read until the connection ends.
                numbers = [row.release for row in store.list_releases(conn)]
                self._revision = str(
                    conn.scalar(text("SELECT version_num FROM alembic_version"))
                )
                for path in sorted(home.tuf.glob("*.json")):
                    self._add(path, f"tuf/{path.name}")
                self._read_keys()
                self._add_plain()
                targets = present.models.signed.targets
                named = {file.hashes["sha256"] for file in targets.values()}
            self._copy_database(conn)
        self._copy_releases(numbers)
        self._copy_artifacts(named)

    def seal_and_name(self, target: Target, now: float) -> Manifest:
        """Write the keys, and return what says that all of it is one backup."""
        name = os.urandom(_ID_BYTES).hex()
        sealed = seal(self._keys, target.passphrase, name)
        if len(sealed) > MAX_BYTES:
            folder = self._source.home.keys
            raise RefusedError("HUB-BACKUP-007", f"{folder} holds more than keys")
        target.keys.absolute().parent.mkdir(parents=True, exist_ok=True)
        write_durably(target.keys, sealed)
        return Manifest(
            id=name,
            created_at=now,
            version=importlib.metadata.version("shoal"),
            database=self._database,
            revision=self._revision,
            keys_sha256=sha256_of(target.keys),
            files=sorted(self._files, key=lambda entry: entry.path),
        )

    def _add(self, source: Path, path: str) -> str:
        digest, size = copy_file(source, self._part / path, self._progress)
        self._files.append(FileEntry(path=path, sha256=digest, bytes=size))
        return digest

    def _add_plain(self) -> None:
        """Copy the single files; a configuration with a password is a secret."""
        home = self._source.home
        database = self._source.config.database
        if database and make_url(database).password:
            self._keys[CONFIG_FILE] = home.config_file.read_bytes()
        else:
            self._add(home.config_file, CONFIG_FILE)
        for path in (home.root_file, home.ca_file, home.path / JOURNAL_FILE):
            if path.exists():
                self._add(path, path.name)

    def _read_keys(self) -> None:
        home = self._source.home
        for folder in (home.keys, home.offline_keys):
            for path in sorted(folder.glob("[!.]*")):
                if path.is_file():
                    self._keys[f"{folder.name}/{path.name}"] = path.read_bytes()

    def _copy_database(self, conn: Connection) -> None:
        """Copy the state that the transaction reads; one that writes waits for nothing.

        Without that transaction each write of somebody else would begin it anew.
        """
        driver = conn.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            self._database = "postgresql"
            return
        path = self._part / DATABASE_FILE
        path.touch(mode=0o600)
        page = int(driver.execute("PRAGMA page_size").fetchone()[0])
        with closing(sqlite3.connect(path)) as copy:
            last = [0]

            def told(_status: int, remaining: int, total: int) -> None:
                done = (total - remaining) * page
                self._progress(done - last[0])
                last[0] = done

            driver.backup(copy, pages=_PAGES_A_STEP, progress=told)
            copy.execute("PRAGMA journal_mode=DELETE").close()
        with path.open("rb") as file:
            os.fsync(file.fileno())
        digest, size = digest_file(path, lambda _: None)
        entry = FileEntry(path=DATABASE_FILE, sha256=digest, bytes=size)
        self._files.append(entry)

    def _copy_releases(self, numbers: list[int]) -> None:
        for number in numbers:
            folder = self._source.home.releases / str(number)
            if not folder.is_dir():
                raise _missing(folder, f"the database names release {number}")
            for path in _release_files(folder):
                self._add(path, f"releases/{number}/{path.name}")

    def _copy_artifacts(self, named: set[str]) -> None:
        folder = self._source.home.artifacts
        present = {path.name for path in folder.glob("*") if _DIGEST.match(path.name)}
        for digest in sorted(named - present):
            raise _missing(folder / digest, "signed metadata names it")
        for digest in sorted(present):
            if self._add(folder / digest, f"artifacts/{digest}") != digest:
                raise _missing(folder / digest, "its content is not what its name says")


def _release_files(folder: Path) -> Iterator[Path]:
    """Yield a release's files; first what names others, which are there before it."""
    first = folder / DELTAS_FILE
    if first.exists():
        yield first
    for path in sorted(folder.glob("[!.]*")):
        if path != first and path.is_file():
            yield path


def _missing(path: Path, why: str) -> RefusedError:
    return RefusedError(
        "HUB-BACKUP-007",
        f"{path} is missing or damaged: {why}",
        cure="bring it back from an older backup; an artifact that is damaged: remove"
        " it, and `hub releases publish N` copies it again",
    )

"""Is a backup whole, and would a hub run with it? Every finding is a line of text."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shutil import copyfile

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import BUNDLE_FILE, RELEASE_FILE
from hub.backup.manifest import (
    CONFIG_FILE,
    DATABASE_FILE,
    FileEntry,
    Manifest,
    Progress,
    copy_file,
    digest_file,
)
from hub.errors import HubError
from hub.releases.signer import Signer
from hub.releases.tuf_repo import TufRepo
from hub.storage import releases as store
from hub.storage.db import HEAD
from hub.storage.releases import ReleaseRow


def check_files(folder: Path, manifest: Manifest, progress: Progress) -> list[str]:
    """Compare each file with the manifest; return what is wrong."""
    return [
        problem
        for entry in manifest.files
        if (problem := _check_file(folder, entry, None, progress))
    ]


def copy_files(
    folder: Path, manifest: Manifest, target: Path, progress: Progress
) -> list[str]:
    """Copy each file, comparing it with the manifest; return what is wrong.

    Raises:
        OSError: A copy cannot be written.
    """
    return [
        problem
        for entry in manifest.files
        if (problem := _check_file(folder, entry, target, progress))
    ]


def check_content(folder: Path, manifest: Manifest) -> list[str]:
    """Look at a whole backup as a hub would; return what is wrong.

    The database is sound and of the named schema, each of its releases has its files,
    and the metadata is signed as it has to be, with its artifacts there.
    """
    problems = [*_check_layout(manifest), *_check_tuf(folder, manifest)]
    if manifest.database == "sqlite":
        problems += _check_database(folder / DATABASE_FILE, manifest)
    return problems


def _check_file(
    folder: Path, entry: FileEntry, target: Path | None, progress: Progress
) -> str:
    path = folder / entry.path
    if not path.is_file():
        return f"{entry.path} is missing"
    try:
        if target is None:
            found = digest_file(path, progress)
        else:
            found = copy_file(path, target / entry.path, progress)
    except OSError as error:
        if target is not None and error.filename != str(path):
            raise
        return f"{entry.path} cannot be read: {error.strerror or error}"
    if found != (entry.sha256, entry.bytes):
        return f"{entry.path} is not what was copied: {found[1]} bytes, {found[0]}"
    return ""


def _check_layout(manifest: Manifest) -> Iterator[str]:
    digests = manifest.digests()
    needed = {"root.json", "tuf/timestamp.json"}
    if manifest.database == "sqlite":
        needed |= {DATABASE_FILE, CONFIG_FILE}
    for path in sorted(needed - digests.keys()):
        yield f"{path} is not in the backup"
    for path, digest in digests.items():
        if path.startswith("artifacts/") and path != f"artifacts/{digest}":
            yield f"{path} has another digest than its name: {digest}"
    if manifest.revision > HEAD:
        yield (
            f"its schema {manifest.revision} is newer than this hub's ({HEAD}): run"
            " the version of the hub that made it"
        )


def _check_tuf(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Check signatures and what they vouch for, on a copy: reading takes a lock."""
    digests = manifest.digests()
    names = [path for path in digests if path.startswith("tuf/")]
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for path in names:
                copyfile(folder / path, Path(scratch) / Path(path).name)
            tuf = TufRepo(Path(scratch), Signer([]))
            present = tuf.present()
            present.verify()
            version = present.root.signed.version
            if digests.get("root.json") != digests.get(f"tuf/{version}.root.json"):
                yield "root.json is not the newest root of tuf/"
            targets = tuf.targets()
    except (HubError, OSError) as error:
        yield f"tuf/: {error}"
        return
    for path, digest in sorted(targets.items()):
        if f"artifacts/{digest}" not in digests:
            yield f"artifacts/{digest} is missing: metadata names it as {path}"


def _check_database(path: Path, manifest: Manifest) -> Iterator[str]:
    """Check the database without writing beside it."""
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(address, uri=True)

    try:
        with closing(connect()) as raw:
            found = raw.execute("PRAGMA integrity_check(5)").fetchall()
            broken = raw.execute("PRAGMA foreign_key_check").fetchall()
            query = "SELECT version_num FROM alembic_version"
            revision = str(raw.execute(query).fetchone()[0])
        yield from (f"{DATABASE_FILE}: {row[0]}" for row in found if row[0] != "ok")
        if broken:
            yield f"{DATABASE_FILE}: {len(broken)} rows refer to none"
        if revision != manifest.revision:
            yield f"{DATABASE_FILE}: its schema is {revision}, not {manifest.revision}"
        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
        with engine.connect() as conn:
            rows = store.list_releases(conn)
    except (sqlite3.Error, SQLAlchemyError, TypeError, WireError) as error:
        yield f"{DATABASE_FILE}: {error}"
        return
    for row in rows:
        yield from _check_release(row, manifest.digests())


def _check_release(row: ReleaseRow, digests: dict[str, str]) -> Iterator[str]:
    """Say what a release lacks of what its row names."""
    folder = f"releases/{row.release}"
    bundle = row.manifest.bundle
    wanted = {ref.name: ref.sha256 for ref in bundle.files}
    wanted[BUNDLE_FILE] = row.bundle_sha256
    for name, digest in wanted.items():
        if digests.get(f"{folder}/{name}") != digest:
            yield f"{folder}/{name} is missing, or not what the database names"
    manifest = digests.get(f"{folder}/{RELEASE_FILE}", "")
    if not manifest:
        yield f"{folder}/{RELEASE_FILE} is missing"
    if row.state != store.PUBLISHED:
        return
    for digest in (manifest, *(ref.sha256 for ref in bundle.device_files)):
        if digest and f"artifacts/{digest}" not in digests:
            yield f"artifacts/{digest} is missing: release {row.release} needs it"

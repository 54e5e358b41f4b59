"""``hub backup``: copy a hub while it serves, check a copy, make a hub of one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from hub.cli.output import json_option, print_json
from hub.cli.passphrases import Brought, seals
from hub.config import Home

if TYPE_CHECKING:
    from sqlalchemy import URL

    from hub.backup.manifest import Manifest, Progress

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)

_keys_option = click.option(
    "--keys",
    type=_FILE,
    metavar="FILE",
    help="The file with the encrypted keys. Default: BACKUP.keys beside the folder.",
)


class BackupView(msgspec.Struct, frozen=True, kw_only=True):
    """A backup as ``--json`` shows it. ``keys_opened``: a passphrase opened them."""

    id: str
    folder: str
    keys: str
    created_at: float
    version: str
    database: str
    revision: str
    files: int
    bytes: int
    keys_opened: bool


@click.group()
def backup() -> None:
    """Copy the hub, and bring a copy back."""


@backup.command()
@click.option("--to", type=_FOLDER, required=True, help="The folder to write.")
@click.option(
    "--keys-to",
    "keys",
    type=_FILE,
    metavar="FILE",
    help="Where the encrypted keys go. Default: beside the folder, as BACKUP.keys.",
)
@seals
@json_option
@click.pass_obj
def create(
    home: Home, brought: Brought, to: Path, keys: Path | None, *, as_json: bool
) -> None:
    """Copy database, releases, metadata and configuration, also while it serves.

    The private keys go into a file of their own, encrypted. Folder and file have their
    names only when they are whole; neither is ever overwritten.
    """
    from hub.backup.create import Source, Target, create_backup, refuse_present, size_of
    from hub.service import open_services

    services = open_services(home)
    keys = keys or _beside(to)
    refuse_present(to, keys)
    passphrase = brought.new_passphrase(
        "the backup's keys", instead="--passphrase-file FILE"
    )
    source = Source(
        home=home, config=services.config, engine=services.engine, tuf=services.tuf
    )
    target = Target(folder=to, keys=keys, passphrase=passphrase)
    with _progress("copying", size_of(home)) as progress:
        found = create_backup(source, target, services.clock.wall(), progress)
    _show(found, to, keys, opened=True, as_json=as_json)
    if found.database != "sqlite":
        click.echo(postgres_words(services.engine.url, to), err=True)


@backup.command()
@click.argument("folder", metavar="BACKUP", type=_FOLDER)
@_keys_option
@seals
@json_option
def verify(brought: Brought, folder: Path, keys: Path | None, *, as_json: bool) -> None:
    """Check every file of a backup, its database, its releases and signatures.

    With a passphrase the keys are opened too. Exits with 7 if anything is wrong.
    """
    from hub.backup.manifest import read_manifest
    from hub.backup.restore import check_keys, refuse
    from hub.backup.verify import check_content, check_files

    manifest = read_manifest(folder)
    keys = keys or _beside(folder)
    candidates = brought.opening()(keys) if brought.can_open else None
    with _progress("checking", manifest.size) as progress:
        refuse(check_files(folder, manifest, progress))
    refuse(check_content(folder, manifest))
    check_keys(keys, manifest, candidates)
    opened = candidates is not None
    _show(manifest, folder, keys, opened=opened, as_json=as_json)
    if not opened:
        click.echo("the keys are whole; no passphrase was tried", err=True)


@backup.command()
@click.argument("folder", metavar="BACKUP", type=_FOLDER)
@_keys_option
@seals
@json_option
@click.pass_obj
def restore(
    home: Home, brought: Brought, folder: Path, keys: Path | None, *, as_json: bool
) -> None:
    """Make a new home (--home) of a backup; nothing is ever overwritten.

    Everything is checked on the way. The home has its name only when it is whole.
    """
    from edge_agent.base.clock import SystemClock
    from hub.backup.manifest import read_manifest
    from hub.backup.restore import check_keys, refuse_used, restore_backup

    refuse_used(home.path)
    manifest = read_manifest(folder)
    keys = keys or _beside(folder)
    secrets = check_keys(keys, manifest, brought.opening()(keys))
    with _progress("copying", manifest.size) as progress:
        restore_backup(folder, home, secrets, SystemClock().wall(), progress)
    _show(manifest, folder, keys, opened=True, as_json=as_json)
    if manifest.database != "sqlite":
        click.echo(
            "the database is not in it: bring PostgreSQL's back before the hub starts,"
            f" such as\n  pg_restore --clean --if-exists --dbname NAME {folder}.dump",
            err=True,
        )
    click.echo(
        f"start it with  hub --home {home.path} serve\n"
        "devices may have heard newer numbers than this hub knows: see `hub alerts"
        " list` once they are back",
        err=True,
    )


def postgres_words(url: "URL", to: Path) -> str:
    """Return how a database is backed up that is not in a backup."""
    from sqlalchemy import URL

    address = URL.create(
        "postgresql",
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
    )
    return (
        "the database is not in it. Back PostgreSQL up yourself, each time before"
        " `hub backup create`, so that nothing it names is missing here:\n"
        f"  pg_dump --format=custom --file {to}.dump '{address}'"
    )


def _beside(folder: Path) -> Path:
    from hub.backup.manifest import KEYS_SUFFIX

    return folder.with_name(folder.name + KEYS_SUFFIX)


@contextmanager
def _progress(label: str, size: int) -> "Iterator[Progress]":
    """Show on a terminal how far it is."""
    stream = sys.stderr
    if not stream.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=size, label=label, file=stream) as bar:
        yield bar.update


def _show(
    manifest: "Manifest", folder: Path, keys: Path, *, opened: bool, as_json: bool
) -> None:
    view = BackupView(
        id=manifest.id,
        folder=str(folder),
        keys=str(keys),
        created_at=manifest.created_at,
        version=manifest.version,
        database=manifest.database,
        revision=manifest.revision,
        files=len(manifest.files),
        bytes=manifest.size,
        keys_opened=opened,
    )
    if as_json:
        print_json(view)
        return
    size = f"{view.bytes / 1e6:.1f} MB"
    click.echo(f"backup {view.id}: {view.files} files, {size}, schema {view.revision}")
    click.echo(f"  {folder}\n  {keys}  (the keys: keep them apart)")

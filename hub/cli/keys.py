"""``hub keys``: the key ceremony, and what becomes of keys over the years."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from hub.cli.output import json_option, print_json, print_table, utc_text
from hub.cli.passphrases import Brought, brings_keys, makes_keys
from hub.config import Home

if TYPE_CHECKING:
    from hub.releases.ceremony import NewKeys
    from hub.releases.key_status import KeyPlace, KeyStatus

_ROLES = ("root", "targets", "models", "online")
_ID_SHOWN = 8


class RotationView(msgspec.Struct, frozen=True, kw_only=True):
    """A rotation as ``--json`` shows it: key files made, and replaced ones left."""

    role: str
    root: int
    made: list[str]
    replaced: list[str]


@click.group()
def keys() -> None:
    """Make, show, replace and renew the keys that sign what devices install."""


@keys.command("init")
@makes_keys
@click.pass_obj
def init_command(home: Home, brought: Brought) -> None:
    """Make the keys and root.json only; hub init makes the rest later.

    For a ceremony on a machine without a network: take the home folder to the hub
    afterwards, without the offline keys.
    """
    from edge_agent.base.clock import SystemClock
    from hub.errors import ConflictError
    from hub.home import create_keys, has_keys

    if has_keys(home):
        raise ConflictError(
            "HUB-KEYS-001",
            f"{home.path} has keys already",
            cure="`hub keys rotate ROLE` replaces one",
        )
    new = brought.new_keys()
    create_keys(home, SystemClock(), new)
    say_what_now(home, new)


@keys.command("status")
@brings_keys
@json_option
@click.pass_obj
def status_command(home: Home, brought: Brought, *, as_json: bool) -> None:
    """Show who signs what, until when it lasts, and where the private keys are."""
    status = brought.ceremony(home).status()
    if as_json:
        print_json(status)
        return
    _print_status(status)


@keys.command("rotate")
@click.argument("role", type=click.Choice(_ROLES))
@makes_keys
@json_option
@click.pass_obj
def rotate_command(home: Home, role: str, brought: Brought, *, as_json: bool) -> None:
    """Give ROLE a new key, and sign again what depends on it. Devices follow.

    root, targets and online need two root keys, models the targets key. If the hub was
    broken into: rotate online, then models.
    """
    is_protected = role in {"root", "targets"} or brought.protect_models
    ceremony = brought.ceremony(home)
    done = ceremony.rotate(role, brought.new_keys(is_protected=is_protected))
    if as_json:
        print_json(
            RotationView(
                role=done.role,
                root=done.root,
                made=[str(path) for path in done.made],
                replaced=[str(path) for path in done.replaced],
            )
        )
        return
    click.echo(f"{role} has a new key; root is version {done.root}", err=True)
    for path in done.made:
        click.echo(f"made      {path}", err=True)
    for path in done.replaced:
        click.echo(f"replaced  {path}: destroy it", err=True)


@keys.command("refresh")
@click.option("--root", is_flag=True, help="Root too: two root keys sign.")
@click.option("--targets", is_flag=True, help="Targets too: the targets key signs.")
@brings_keys
@click.pass_obj
def refresh_command(home: Home, brought: Brought, *, root: bool, targets: bool) -> None:
    """Sign again now; everything lasts as long as if it were new.

    hub serve does this every day with the keys that it has. Root and targets need a
    person with their keys, before they expire.
    """
    ceremony = brought.ceremony(home)
    roles = ["root"] * root + ["targets"] * targets
    ceremony.refresh(roles)
    if not roles:
        click.echo("signed again", err=True)
    for role in roles:
        click.echo(f"{role} is signed again", err=True)


@keys.command("export-root")
@click.option(
    "--version",
    type=click.IntRange(1),
    metavar="N",
    help="Which version of root. Default: the newest.",
)
@click.option(
    "--to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write.",
)
@click.pass_obj
def export_root_command(home: Home, version: int | None, target: Path) -> None:
    """Write a version of root.json, which devices are provisioned with.

    A device may start from any version: it follows the chain of signatures.
    """
    from hub.files import PUBLIC, write_durably

    data = Brought(folders=(), files=()).ceremony(home).root(version)
    write_durably(target, data, mode=PUBLIC)
    click.echo(f"wrote {target}", err=True)


def say_what_now(home: Home, new: "NewKeys") -> None:
    """Tell a person what new keys are for and where they belong."""
    folder = new.folder or home.offline_keys
    click.echo(f"devices trust  {home.root_file}", err=True)
    click.echo(f"offline keys   {folder}", err=True)
    if new.passphrase is None:
        click.echo(
            "  without a passphrase: for trying out only. Before real devices:\n"
            "  hub keys rotate root, hub keys rotate targets",
            err=True,
        )
        return
    click.echo(
        "  move them away from this machine: they are needed to replace keys, and once"
        " a year\n  for  hub keys refresh --targets; without them nobody can ever"
        " replace root",
        err=True,
    )


def _print_status(status: "KeyStatus") -> None:
    rows: list[tuple[object, ...]] = []
    for role in status.roles:
        facts = (
            role.role,
            str(role.version),
            f"{role.threshold} of {len(role.keys)}",
            utc_text(role.expires_at),
        )
        for key in role.keys:
            rows.append((*facts, key.keyid[:_ID_SHOWN], *_place(key)))
            facts = ("", "", "", "")
    print_table(
        ("role", "version", "sign", "expires", "key", "passphrase", "private key"),
        rows,
    )
    floor = status.min_release
    click.echo(f"lowest release that devices install: {floor or 'any'}")
    for warning in status.warnings:
        click.echo(f"warning: {warning.text}\n  {warning.cure}", err=True)


def _place(key: "KeyPlace") -> tuple[str, str]:
    if not key.path:
        return "?", "elsewhere"
    return "yes" if key.protected else "no", key.path

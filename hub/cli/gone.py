"""``hub devices retire`` and ``forget``: devices that are gone."""

import time
from typing import TYPE_CHECKING

import click

from hub.cli.output import json_option, print_json
from hub.config import Home

if TYPE_CHECKING:
    from hub.devices.gone import Forgotten
    from hub.service import Services

_WAIT_S = 10.0
_POLL_S = 0.1


@click.command("retire")
@click.argument("device", nargs=-1, required=True)
@click.option("--undo", is_flag=True, help="Let them take part again.")
@json_option
@click.pass_obj
def retire(home: Home, device: tuple[str, ...], *, undo: bool, as_json: bool) -> None:
    """Take each DEVICE out of rollouts, shares and alerts; keep its records.

    Its certificates are revoked. It is back when it enrols again, or with --undo.
    """
    from hub.service import open_services

    gone = open_services(home).gone
    done = gone.take_back(device) if undo else gone.retire(device)
    if as_json:
        print_json(done)
        return
    for one in done:
        text = "takes part again" if undo else "is retired"
        ended = f", {one.revoked} certificates revoked" if one.revoked else ""
        click.echo(f"{one.device} {text}{ended}", err=True)
    if undo:
        click.echo("revoked certificates stay so: enrol it anew", err=True)
    elif any(one.revoked for one in done):
        click.echo("the broker learns it by  hub broker revocations --to DIR", err=True)


@click.command("forget")
@click.argument("device", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Confirm permanent deletion (required).")
@json_option
@click.pass_obj
def forget(home: Home, device: tuple[str, ...], *, yes: bool, as_json: bool) -> None:
    """Erase everything of each DEVICE, for good; its id stays denied.

    Backups, exports, logs, and what models have learned are not erased. The messages
    that the broker keeps are deleted by hub serve. To run it again does no harm.
    """
    if not yes:
        names = ", ".join(device)
        text = f"everything of {names} would be deleted for good: say --yes"
        raise click.UsageError(text)
    from hub.service import open_services

    services = open_services(home)
    done = _wait(services, services.gone.forget(device))
    if as_json:
        print_json(done)
        return
    for one in done:
        rest = "" if one.erased_at else "; what the broker keeps waits for hub serve"
        text = f"{one.rows} rows and {one.files} files erased{rest}"
        click.echo(f"{one.device}: {text}", err=True)


def _wait(services: "Services", done: "list[Forgotten]") -> "list[Forgotten]":
    """Wait a moment for the serving hub to do its part, if there is one."""
    from hub.storage.hub_links import read_link

    with services.engine.connect() as conn:
        serves = read_link(conn).knows(services.clock.wall())
    deadline = time.monotonic() + (_WAIT_S if serves else 0.0)
    while time.monotonic() < deadline and not all(one.erased_at for one in done):
        time.sleep(_POLL_S)
        done = [services.gone.state_of(one) for one in done]
    return done

"""``hub init``: create a home folder."""

import click
import msgspec

from hub.cli.keys import say_what_now
from hub.cli.output import json_option, print_json
from hub.cli.passphrases import Brought, makes_keys
from hub.config import Home


class HomeView(msgspec.Struct, frozen=True, kw_only=True):
    """The new home folder as ``--json`` shows it."""

    home: str
    root: str
    offline_keys: str


@click.command()
@makes_keys
@json_option
@click.pass_obj
def init(home: Home, brought: Brought, *, as_json: bool) -> None:
    """Create the home folder: keys, trust anchor, database, hub.toml.

    It never overwrites anything; keys that hub keys init made are used. The keys of
    root and targets get a passphrase, and are meant to be moved away afterwards.
    """
    from edge_agent.base.clock import SystemClock
    from hub.home import create_home, has_keys, refuse_present

    refuse_present(home)
    is_new = not has_keys(home)
    new = brought.new_keys(is_protected=is_new)
    create_home(home, SystemClock(), new)
    offline = new.folder or home.offline_keys
    if as_json:
        print_json(
            HomeView(
                home=str(home.path),
                root=str(home.root_file),
                offline_keys=str(offline),
            )
        )
        return
    click.echo(f"created {home.path}", err=True)
    if is_new:
        say_what_now(home, new)
    click.echo(f"start it with  hub --home {home.path} serve", err=True)

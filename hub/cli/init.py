"""``hub init``: create a home folder."""

import click
import msgspec

from hub.cli.output import json_option, print_json
from hub.config import Home


class HomeView(msgspec.Struct, frozen=True, kw_only=True):
    """The new home folder as ``--json`` shows it."""

    home: str
    root: str


@click.command()
@json_option
@click.pass_obj
def init(home: Home, *, as_json: bool) -> None:
    """Create the home folder: keys, trust anchor, database, hub.toml.

    It never overwrites anything.
    """
    from edge_agent.base.clock import SystemClock
    from hub.home import create_home

    create_home(home, SystemClock())
    if as_json:
        print_json(HomeView(home=str(home.path), root=str(home.root_file)))
        return
    click.echo(f"created {home.path}", err=True)
    click.echo(f"devices trust  {home.root_file}", err=True)
    click.echo(f"start it with  hub --home {home.path} serve", err=True)

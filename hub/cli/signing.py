"""``hub releases publish|floor``: what needs keys that may lie elsewhere."""

import click

from hub.cli.passphrases import Brought, brings_keys
from hub.config import Home


@click.command("publish")
@click.argument("release", type=click.IntRange(1))
@brings_keys
@click.pass_obj
def publish_command(home: Home, release: int, brought: Brought) -> None:
    """Sign RELEASE and make it installable.

    Releases are published when they are made, unless the key of models is protected or
    elsewhere: then a person does it here. Repeating it does no harm.
    """
    from hub.service import open_services

    services = open_services(home, signer=brought.ceremony(home).signer)
    services.releases.publish(release)
    click.echo(f"release {release} is published", err=True)


@click.command("floor")
@click.argument("release", type=click.IntRange(0), required=False)
@brings_keys
@click.pass_obj
def floor_command(home: Home, release: int | None, brought: Brought) -> None:
    """Sign that devices install nothing below RELEASE; without one, show the floor.

    The targets key signs it, which a thief of the hub does not have. 0: anything.
    """
    from hub.releases.floor import check_floor
    from hub.service import open_services

    ceremony = brought.ceremony(home)
    if release is None:
        click.echo(ceremony.tuf.min_release())
        return
    check_floor(open_services(home).engine, release)
    ceremony.set_floor(release)
    click.echo(f"devices install nothing below release {release}", err=True)

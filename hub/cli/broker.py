"""``hub broker``: the broker's side of mutual TLS."""

import os
from pathlib import Path

import click

from hub.config import Home

MQTT_TLS_PORT = 8883

_TO = click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The broker's folder.",
)


@click.group()
def broker() -> None:
    """Write mosquitto's configuration."""


@broker.command("config")
@_TO
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="A name devices connect to. Without one it listens on 127.0.0.1 only.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Where it listens. Default: broker.port of hub.toml if that has TLS, or 8883.",
)
@click.pass_obj
def config_command(
    home: Home, folder: Path, hosts: tuple[str, ...], port: int | None
) -> None:
    """Write mosquitto.conf, access rules, certificates and the revocation list.

    What is there is replaced. localhost and 127.0.0.1 are always among the hosts.
    """
    from hub.identity.broker import write_broker
    from hub.identity.enforcement import remember_broker
    from hub.service import open_services

    services = open_services(home)
    known = services.config.broker
    port = port or (known.port if known.tls.enabled else MQTT_TLS_PORT)
    write_broker(folder, services.identity, hosts, port)
    remember_broker(home, folder)
    click.echo(f"wrote {folder}; its owner must be mosquitto's user", err=True)
    if os.geteuid() == 0:  # mosquitto gives root up before it opens its files
        click.echo(f"so first  chown -R mosquitto {folder}", err=True)
    click.echo(f"start it with  mosquitto -c {folder / 'mosquitto.conf'}", err=True)


@broker.command("revocations")
@_TO
@click.pass_obj
def revocations_command(home: Home, folder: Path) -> None:
    """Write revocation list and rules anew, and have the broker read them.

    A broker of another user or machine reads them on SIGHUP
    (systemctl reload mosquitto).
    """
    from hub.identity.broker import reload_broker, write_revocations
    from hub.identity.enforcement import remember_broker
    from hub.service import open_services

    write_revocations(folder, open_services(home).identity)
    remember_broker(home, folder)
    done = reload_broker(folder)
    then = "the broker reads it" if done else "now: systemctl reload mosquitto"
    click.echo(f"wrote {folder / 'crl.pem'} and {folder / 'acl'}; {then}", err=True)

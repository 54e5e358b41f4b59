"""``hub devices join-file``: one file with which a device joins."""

import os
from pathlib import Path

import click

from edge_agent.wire.codec import encode_pretty
from hub.cli.output import read_duration
from hub.config import Home


@click.command("join-file")
@click.argument("device")
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write; it must not exist.",
)
@click.option(
    "--valid-for",
    callback=read_duration,
    default="1h",
    show_default=True,
    help="How long its token can be used: 90s, 30m, 1h, 7d.",
)
@click.option("--broker-host", default="", help="The broker's name for the device.")
@click.option("--broker-port", type=click.IntRange(1, 65535), help="And its port.")
@click.pass_obj
def join_file(  # noqa: PLR0913 - click gives each option as an argument
    home: Home,
    *,
    device: str,
    to: Path,
    valid_for: float,
    broker_host: str,
    broker_port: int | None,
) -> None:
    """Write all that DEVICE needs to join: root, broker, and a one-time token.

    On the device: edge-agent join FILE. Take it there over a way that nobody else can
    read or change.
    """
    from hub.errors import ConflictError
    from hub.identity.join import Reach, make_join_file
    from hub.service import open_services

    reach = Reach(host=broker_host, port=broker_port or 0)
    if to.exists():
        raise ConflictError("HUB-ENROL-015", f"{to} exists already")
    made = make_join_file(open_services(home).identity, home, device, valid_for, reach)
    # Readable for its owner alone from the first byte on: it holds the token.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(to, flags, 0o600), "wb") as file:
        file.write(encode_pretty(made))
    click.echo(f"{to} is for {made.device}, once: edge-agent join {to.name}", err=True)

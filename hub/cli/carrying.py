"""``hub releases download``: a folder for devices that no network reaches."""

from pathlib import Path

import click

from hub.cli.output import json_option, print_json, utc_text
from hub.config import Home


@click.command("download")
@click.argument("release", type=int, required=False)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    required=True,
    help="A new folder, for example on a USB stick.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    help="A device whose signed assignment goes along; may be repeated.",
)
@json_option
@click.pass_obj
def download_command(
    home: Home,
    release: int | None,
    to: Path,
    devices: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Write a folder for devices without a network: `edge-agent update apply`.

    RELEASE is assigned to devices that have another. Without it they get what they are
    assigned already.
    """
    from hub.carry import write_folder
    from hub.service import open_services

    done = write_folder(open_services(home), to, release=release, devices=devices)
    if as_json:
        print_json(done)
        return
    numbers = ", ".join(map(str, done.releases))
    click.echo(
        f"{done.folder}: release {numbers}, {done.artifacts} artifacts,"
        f" {done.bytes} bytes"
    )
    for device, seq in done.seqs.items():
        click.echo(f"assignment {seq} of {device}")
    click.echo(f"devices take it until {utc_text(done.valid_until)}")

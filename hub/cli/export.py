"""``hub export``: the hub's data as one file for analysis."""

from functools import partial
from pathlib import Path

import click

from hub.cli.output import json_option, print_json, print_table
from hub.config import Home


@click.command("export")
@click.option(
    "--sqlite",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write; must not exist. Opens in Datasette as it is.",
)
@json_option
@click.pass_obj
def export(home: Home, path: Path, *, as_json: bool) -> None:
    """Write devices, rollouts, alerts, labels, records and profiles to one file."""
    from hub.export.file import export_sqlite
    from hub.monitor.releases import read_reference
    from hub.service import open_services

    engine = open_services(home).engine
    counts = export_sqlite(engine, path, partial(read_reference, engine, home))
    if as_json:
        print_json(counts)
    else:
        print_table(("table", "rows"), list(counts.items()))

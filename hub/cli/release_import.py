"""``hub releases import``: a model made elsewhere becomes a release."""

from pathlib import Path

import click

from hub.cli.output import json_option
from hub.config import Home

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_PASSED_ON = (
    "name",
    "task",
    "labels",
    "samples",
    "sample_rate",
    "hop",
    "axes",
    "low",
    "high",
    "flat_rows",
    "signature",
)


@click.command("import")
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--name", help="The model's name; the file's by default.")
@click.option("--task", help="What it does; its name by default.")
@click.option("--labels", type=FILE, help="Names of its classes, one a line.")
@click.option("--samples", type=FILE, help="Samples it was made for: .csv or .npz.")
@click.option("--sample-rate", type=click.FloatRange(min=0), metavar="HZ")
@click.option("--hop", type=click.IntRange(min=0), help="Rows from window to window.")
@click.option("--axes", help="Names of the last axis: ax,ay,az.")
@click.option("--shape", multiple=True, metavar="INPUT=N,N,…", help="Of one sample.")
@click.option("--low", type=float, help="No good value of a float input is lower.")
@click.option("--high", type=float, help="None is higher.")
@click.option(
    "--flat-rows",
    type=click.IntRange(min=2),
    help="So many equal rows of an axis are a sensor that is stuck.",
)
@click.option("--signature", help="Which signature of a SavedModel devices serve.")
@click.option(
    "--override-gate",
    metavar="REASON",
    default="",
    help="Take it in even if it guesses no better than chance, and note why.",
)
@click.option("--no-publish", is_flag=True, help="Do not sign and publish it yet.")
@json_option
@click.pass_obj
def import_command(  # noqa: PLR0913 - one argument an option
    home: Home,
    /,
    *,
    model: Path,
    shape: tuple[str, ...],
    override_gate: str,
    no_publish: bool,
    as_json: bool,
    **options: object,
) -> None:
    """Make MODEL (.tflite, .keras, or a SavedModel folder) a release.

    Its inputs and outputs are read from it. With --samples the release watches for
    drift; without, only for errors and latency.
    """
    from hub.cli.releases import tell_release
    from hub.releases.importing import imported_bundle
    from hub.service import open_services

    words = [f"--shape={text}" for text in shape]
    words += [
        f"--{name.replace('_', '-')}={options[name]}"
        for name in _PASSED_ON
        if options[name] is not None
    ]
    service = open_services(home).releases
    with imported_bundle(model, words) as bundle:
        release = service.take_in(bundle, override_gate=override_gate)
    if not no_publish:
        service.publish(release)
    tell_release(service, release, as_json=as_json)

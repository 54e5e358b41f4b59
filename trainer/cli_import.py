"""``trainer import``: a model made elsewhere becomes an unsigned bundle."""

from pathlib import Path

import click

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
SHAPE = "INPUT=N,N,…"


def parse_shapes(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Read ``input=100,6`` texts.

    Raises:
        click.BadParameter: One is not of this form.
    """
    shapes = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        try:
            shape = tuple(int(number) for number in numbers.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not {SHAPE}") from error
        if not name or min(shape) < 1:
            raise click.BadParameter(f"{text!r} is not {SHAPE}")
        shapes[name] = shape
    return shapes


@click.command("import")
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The new bundle's folder.",
)
@click.option("--name", default="", help="The model's name; the file's by default.")
@click.option("--task", default="", help="What it does; its name by default.")
@click.option("--labels", type=FILE, help="Names of its classes, one a line.")
@click.option("--samples", type=FILE, help="Samples it was made for: .csv or .npz.")
@click.option("--sample-rate", type=click.FloatRange(min=0), default=0.0, metavar="HZ")
@click.option("--hop", type=click.IntRange(min=0), default=0, help="Rows a window on.")
@click.option("--axes", default="", help="Names of the last axis: ax,ay,az.")
@click.option("--shape", "shapes", multiple=True, metavar=SHAPE, help="Of one sample.")
@click.option("--low", type=float, help="No good value of a float input is lower.")
@click.option("--high", type=float, help="None is higher.")
@click.option(
    "--flat-rows",
    type=click.IntRange(min=2),
    default=None,
    help="So many equal rows of an axis are a sensor that is stuck.",
)
@click.option("--signature", default="", help="Which signature of a SavedModel.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def import_command(  # noqa: PLR0913 - one argument an option
    *,
    model: Path,
    out: Path,
    name: str,
    task: str,
    labels: Path | None,
    samples: Path | None,
    sample_rate: float,
    hop: int,
    axes: str,
    shapes: tuple[str, ...],
    low: float | None,
    high: float | None,
    flat_rows: int | None,
    signature: str,
    as_json: bool,
) -> None:
    """Make a bundle of MODEL: a .tflite or .keras file, or a SavedModel folder."""
    from edge_agent.base.clock import SystemClock
    from trainer.imports.make import import_model
    from trainer.imports.read import Foreign
    from trainer.screen import print_result, require_passed

    clock = SystemClock()
    start = clock.mono()
    foreign = Foreign(
        source=model,
        name=name,
        task=task,
        labels=labels,
        samples=samples,
        signature=signature,
        shapes=parse_shapes(shapes),
        axes=tuple(filter(None, axes.split(","))),
        rate_hz=sample_rate,
        hop=hop,
        low=low,
        high=high,
        flat_rows=flat_rows or 0,
    )
    bundle = import_model(foreign, out, clock)
    print_result(bundle, out, clock.mono() - start, as_json=as_json)
    require_passed(bundle)

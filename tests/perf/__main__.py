"""``python -m tests.perf NAME``: measure one part and print what it costs."""

from collections.abc import Callable
from pathlib import Path

import click

from tests.perf import delta, runtime, sync, update
from tests.perf.evidence import suite as evidence
from tests.perf.report import Metric, print_metrics, write_json

SUITES: dict[str, Callable[[Path], list[Metric]]] = {
    "delta": delta.measure,
    "evidence": evidence.measure,
    "runtime": runtime.measure,
    "sync": sync.measure,
    "update": update.measure,
}


@click.command()
@click.argument("name", type=click.Choice(sorted(SUITES)))
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the table to a file.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=".",
    show_default=True,
    help="On the disk to measure; a folder made in it is removed again.",
)
def main(name: str, json_file: Path | None, folder: Path) -> None:
    """Measure NAME: medians of several rounds, each with its baseline."""
    metrics = SUITES[name](folder)
    print_metrics(metrics)
    if json_file is not None:
        write_json(json_file, metrics)


if __name__ == "__main__":
    main()

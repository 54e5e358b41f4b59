"""``trainer``: the command line. Heavy libraries are imported by the commands.

Results go to standard output, progress and errors to standard error. Exit codes are
those of :class:`~edge_agent.base.exit_codes.ExitCode`; 7 means that the gate refused
the candidate (its bundle is written all the same).
"""

from pathlib import Path

import click

from edge_agent.base.program import run_command_line
from trainer.cli_import import import_command

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
PLACE = click.Path(path_type=Path)


@click.group()
def cli() -> None:
    """Train, compress, judge and package models for a Shoal fleet."""


@cli.command()
@click.argument("job", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def run(job: Path, *, as_json: bool) -> None:
    """Carry out the job in the file JOB and write its bundle."""
    from edge_agent.base.clock import SystemClock
    from trainer.job import run_job
    from trainer.screen import print_result, progress_shown, require_passed

    clock = SystemClock()
    start = clock.mono()
    with progress_shown() as listener:
        bundle, out = run_job(job, clock, listener)
    print_result(bundle, out, clock.mono() - start, as_json=as_json)
    require_passed(bundle)


@cli.command()
@click.argument("bundle", type=FOLDER)
@click.option("--arm", "segment", help="Only this arm (segment) of the gate people.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def evaluate(bundle: Path, segment: str | None, *, as_json: bool) -> None:
    """Measure BUNDLE on the gate people with the device's runtime."""
    from trainer.package import evaluate_bundle
    from trainer.screen import print_scores

    print_scores(evaluate_bundle(bundle, segment or ""), as_json=as_json)


@cli.command()
@click.argument("bundle", type=FOLDER)
@click.option("--model", type=FILE, required=True, help="The ready .tflite file.")
@click.option("--out", type=PLACE, required=True, help="The new bundle's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def package(bundle: Path, model: Path, out: Path, *, as_json: bool) -> None:
    """Make a bundle of a ready model, under the contract of BUNDLE."""
    from edge_agent.base.clock import SystemClock
    from trainer.package import package as make
    from trainer.screen import print_result, require_passed

    clock = SystemClock()
    start = clock.mono()
    made = make(bundle, model, out, clock)
    print_result(made, out, clock.mono() - start, as_json=as_json)
    require_passed(made)


cli.add_command(import_command)


@cli.group()
def data() -> None:
    """Export data that tasks learn from."""


@data.command()
@click.option("--out", type=PLACE, required=True, help="Folder to write to.")
def watch(out: Path) -> None:
    """Write the wearers' recordings of the task `watch` for devices to replay."""
    from trainer.tasks.watch_export import export_watch

    counts = export_watch(out)
    click.echo(f"{counts['recordings']} recordings in {counts['files']} files in {out}")


def main() -> None:
    """Run the command line; a known error becomes a text and an exit code."""
    run_command_line(cli, "trainer", mark="trainer: ")

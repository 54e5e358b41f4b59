"""``hub demo``: arguments in, report out."""

import shutil
import sys
import tempfile
from pathlib import Path

import click

from edge_agent.base.exit_codes import ExitCode, ShoalError
from edge_agent.base.terminal import raw_stream
from hub.demo.options import Options, Series


@click.command()
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("demo-report.json"),
    show_default=True,
    help="Where all figures are written as JSON.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where hub and devices live; must not exist. Default: a temporary folder, "
    "removed if all went well.",
)
@click.option(
    "--broker",
    type=click.Choice(["auto", "mosquitto", "iotcore"]),
    default="auto",
    show_default=True,
    help="auto: mosquitto if it is installed, else iotcore.",
)
@click.option(
    "--sensor",
    type=click.Choice(["turns", "sessions"]),
    default="turns",
    show_default=True,
    help="turns: a window of each exercise in turn; sessions: a wearer does one "
    "exercise at a time, as people do.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 1_000_000),
    default=1,
    show_default=True,
    help="Seeds all that is drawn: training, and the order of sessions.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 1000),
    help="Run it so many times, seed after seed, and print the table of outcomes; "
    "the figures go to demo-repeat.json beside the report.",
)
@click.option(
    "--load",
    is_flag=True,
    help="With --repeat: other processes keep every core busy during every second run.",
)
@click.option("--keep", is_flag=True, help="Leave everything running at the end.")
def demo(  # noqa: PLR0913 - one argument an option
    report: Path,
    folder: Path | None,
    broker: str,
    sensor: str,
    *,
    seed: int,
    repeat: int | None,
    load: bool,
    keep: bool,
) -> None:
    """Run the whole loop on real data with eight agents, and judge every act.

    Exits with 0 only if every act did what it should, in every run.
    """
    if load and repeat is None:
        raise click.UsageError("--load needs --repeat")
    if keep and repeat is not None:
        raise click.UsageError("--keep is for one run: leave out --repeat")
    place = _make_folder(folder)
    options = Options(folder=place, broker=broker, keep=keep, sensor=sensor, seed=seed)
    try:
        if repeat is None:
            ok = _once(options, report, remove=folder is None)
        else:
            target = report.with_name("demo-repeat.json")
            ok = _repeat(Series(options=options, runs=repeat, load=load), target)
    except KeyboardInterrupt:
        click.echo("interrupted: every process of the demo has been stopped", err=True)
        sys.exit(130)
    except ShoalError as error:
        click.echo(str(error), err=True)
        sys.exit(ExitCode.FAILED)
    sys.exit(ExitCode.OK if ok else ExitCode.FAILED)


def _make_folder(folder: Path | None) -> Path:
    if folder is not None and folder.exists():
        raise click.UsageError(f"the folder {folder} already exists")
    place = (folder or Path(tempfile.mkdtemp(prefix="shoal-demo-"))).resolve()
    place.mkdir(parents=True, exist_ok=True)
    return place


def _once(options: Options, report: Path, *, remove: bool) -> bool:
    from rich.console import Console

    from hub.demo.play import play
    from hub.demo.report import print_summary, write_report

    console = Console(file=raw_stream(sys.stdout))
    place = options.folder
    console.print(
        f"hub, devices and logs are in {place}", highlight=False, markup=False
    )
    result, stage = play(options, console)
    write_report(result, report)
    print_summary(result, report, console)
    if options.keep:
        _how_to_look_around(place, stage.processes.running())
    elif result.ok and remove:
        shutil.rmtree(place, ignore_errors=True)
    return result.ok


def _repeat(series: Series, target: Path) -> bool:
    from rich.console import Console

    from hub.demo.repeat import repeat_demo

    return repeat_demo(series, target, Console(file=raw_stream(sys.stdout)))


def _how_to_look_around(place: Path, pids: list[int]) -> None:
    device = place / "devices" / "watch-01"
    programs = Path(sys.executable).parent
    click.echo(
        f"""
Everything is still running. Look around:
  {programs}/hub --home {place}/hub devices list
  {programs}/hub --home {place}/hub rollouts list
  {programs}/hub --home {place}/hub alerts list
  {programs}/hub --home {place}/hub tail --count 20
  {programs}/edge-agent status --config {device}/agent.toml
Stop it with:
  kill {" ".join(map(str, pids))}"""
    )

"""``hub demo``: arguments in, report out."""

import shutil
import sys
import tempfile
from pathlib import Path

import click

from edge_agent.base.exit_codes import ExitCode, ShoalError


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
@click.option("--keep", is_flag=True, help="Leave everything running at the end.")
def demo(report: Path, folder: Path | None, broker: str, *, keep: bool) -> None:
    """Run the whole loop on real data with eight agents, and judge every act.

    Exits with 0 only if every act did what it should.
    """
    from rich.console import Console

    from hub.demo.play import Options, play
    from hub.demo.report import print_summary, write_report

    console = Console()
    if folder is not None and folder.exists():
        raise click.UsageError(f"the folder {folder} already exists")
    place = (folder or Path(tempfile.mkdtemp(prefix="shoal-demo-"))).resolve()
    place.mkdir(parents=True, exist_ok=True)
    console.print(f"hub, devices and logs are in {place}", highlight=False)
    try:
        result, stage = play(Options(folder=place, broker=broker, keep=keep), console)
    except KeyboardInterrupt:
        click.echo("interrupted: every process of the demo has been stopped", err=True)
        sys.exit(130)
    except ShoalError as error:
        click.echo(str(error), err=True)
        sys.exit(ExitCode.FAILED)
    write_report(result, report)
    print_summary(result, report, console)
    if keep:
        _how_to_look_around(place, stage.processes.running())
    elif result.ok and folder is None:
        shutil.rmtree(place, ignore_errors=True)
    sys.exit(ExitCode.OK if result.ok else ExitCode.FAILED)


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

"""``edge-agent``: parsing and printing only; heavy imports are inside the commands.

Errors that Shoal raises on purpose are printed with their cure, never as a traceback,
and decide the exit code.
"""

import sys
from pathlib import Path
from typing import IO

import click
import msgspec

from edge_agent.base.exit_codes import ExitCode
from edge_agent.base.program import run_command_line
from edge_agent.bench_command import bench
from edge_agent.cli_output import (
    CONFIG_OPTION,
    JSON_OPTION,
    print_document,
    read_config,
    socket_of,
)
from edge_agent.evidence_command import evidence
from edge_agent.infer_command import infer
from edge_agent.models_command import models
from edge_agent.run_command import join, run
from edge_agent.tuf_command import tuf
from edge_agent.update_command import update

MAX_TOKEN = 256


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--verbose", is_flag=True, help="Log every step.")
def cli(*, verbose: bool) -> None:
    """Run models on this device, send telemetry, follow signed assignments."""
    from edge_agent.base.log import set_up_logging

    set_up_logging(verbose=verbose)


@cli.command()
@CONFIG_OPTION
@JSON_OPTION
def status(config_path: Path, *, as_json: bool) -> None:
    """Show what runs, what waits to be sent, and whether the broker is there."""
    from edge_agent.status import read_status

    report = read_status(read_config(config_path), config_path)
    print_document(report, report.lines(), as_json=as_json)


@cli.command()
@CONFIG_OPTION
@click.option(
    "--labels",
    "labels_path",
    type=click.Path(path_type=Path),
    required=True,
    help="JSON: recording name to label.",
)
@click.option("--delay", type=float, default=0.0, show_default=True, help="Seconds.")
def feedback(config_path: Path, labels_path: Path, delay: float) -> None:
    """Bring the agent the true labels of replayed recordings, late, until told to stop.

    A sample's recording is its id up to the first @.
    """
    import signal
    from threading import Event

    from edge_agent.base.clock import SystemClock
    from edge_agent.labels import LateLabels, read_labels
    from edge_agent.serve.client import Client

    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    labels = read_labels(labels_path)
    with Client(socket_of(config_path)) as client:
        told = LateLabels(client, labels, delay, SystemClock()).follow(stop)
    click.echo(f"{told} labels told")


@cli.command()
@CONFIG_OPTION
@click.option("--hub", required=True, help="The hub's address: https://HOST:8770.")
@click.option(
    "--token-file",
    type=click.File(),
    help="The one-time token; - is standard input.",
)
@click.option("--renew", is_flag=True, help="Ask with the present certificate.")
@click.option("--ca", type=click.Path(path_type=Path), help="The hub's ca.pem.")
@JSON_OPTION
def enroll(  # noqa: PLR0913 - click gives each option as an argument
    *,
    config_path: Path,
    hub: str,
    token_file: IO[str] | None,
    renew: bool,
    ca: Path | None,
    as_json: bool,
) -> None:
    """Get this device's certificate from the hub.

    The token comes from `hub devices enroll-token`; it is never an argument.
    """
    from edge_agent.enrol import enrol

    if (token_file is None) != renew:
        raise click.UsageError("give either --token-file or --renew")
    token = token_file.read(MAX_TOKEN).strip() if token_file else ""
    if token_file and not token:
        raise click.UsageError("the token is empty")
    done = enrol(read_config(config_path), config_path, hub, token, ca)
    print_document(done, done.lines(), as_json=as_json)


@cli.group()
def config() -> None:
    """Look at the configuration."""


@config.command("check")
@CONFIG_OPTION
@JSON_OPTION
def config_check(config_path: Path, *, as_json: bool) -> None:
    """Print the configuration as the agent understands it, defaults included."""
    settings = read_config(config_path)
    text = msgspec.json.format(msgspec.json.encode(settings), indent=2).decode()
    print_document(settings, [text], as_json=as_json)


@cli.group()
def outbox() -> None:
    """Look after the records that wait to be sent."""


@outbox.command("stats")
@CONFIG_OPTION
@JSON_OPTION
def outbox_stats(config_path: Path, *, as_json: bool) -> None:
    """Show, lane by lane, what was produced, evicted, and still waits."""
    from edge_agent.status import read_outbox

    report = read_outbox(read_config(config_path), config_path)
    print_document(report, report.lines(), as_json=as_json)


@outbox.command("export")
@CONFIG_OPTION
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file, one JSON object a line.",
)
@JSON_OPTION
def outbox_export(config_path: Path, to: Path, *, as_json: bool) -> None:
    """Write the records that wait into a file; they stay in the outbox."""
    from edge_agent.held import export_outbox

    report = export_outbox(read_config(config_path), config_path, to)
    print_document(report, report.lines(), as_json=as_json)


@outbox.command("purge")
@CONFIG_OPTION
@click.option(
    "--lane",
    type=click.Choice(["alert", "state", "metric", "sample"]),
    required=True,
    help="The lane to empty.",
)
@click.option("--yes", is_flag=True, help="They are gone for good; needed.")
@JSON_OPTION
def outbox_purge(config_path: Path, lane: str, *, yes: bool, as_json: bool) -> None:
    """Delete the records of a lane that wait; they are counted as evicted.

    May be used while the agent runs. What is on its way to the hub may still arrive.
    """
    if not yes:
        text = f"the unsent records of lane {lane} would be gone for good: say --yes"
        raise click.UsageError(text)
    from edge_agent.held import purge_lane
    from edge_agent.wire.topics import Lane

    report = purge_lane(read_config(config_path), config_path, Lane(lane))
    print_document(report, report.lines(), as_json=as_json)


@cli.command()
@CONFIG_OPTION
@JSON_OPTION
def doctor(config_path: Path, *, as_json: bool) -> None:
    """Check what the agent needs, one line a check, each with its cure."""
    from edge_agent.doctor import examine

    findings = examine(read_config(config_path), config_path)
    lines = [finding.line() for finding in findings]
    print_document(findings, lines, as_json=as_json)
    if not all(finding.ok for finding in findings):
        sys.exit(ExitCode.FAILED)


cli.add_command(run)
cli.add_command(join)
cli.add_command(bench)
cli.add_command(evidence)
cli.add_command(infer)
cli.add_command(models)
cli.add_command(tuf)
cli.add_command(update)


def main() -> None:
    """Run the command line; entry point of ``edge-agent``."""
    run_command_line(cli)

"""``edge-agent update``: what updates are doing, what one would be, one from a folder.

A check that refuses something ends with 7, whatever it refused; the codes are those
that the agent reports to the hub.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from edge_agent.base.exit_codes import ExitCode
from edge_agent.cli_output import (
    CONFIG_OPTION,
    JSON_OPTION,
    print_document,
    read_config,
)

_FROM = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def update() -> None:
    """Look after updates; carry one out from a folder."""


@update.command()
@CONFIG_OPTION
@JSON_OPTION
def status(config_path: Path, *, as_json: bool) -> None:
    """Show phase, slots, last outcome, metadata and clock."""
    from edge_agent.update_state import read_update_state

    report = read_update_state(read_config(config_path), config_path)
    print_document(report, report.lines(), as_json=as_json)


@update.command()
@CONFIG_OPTION
@click.option("--from", "folder", type=_FROM, help="A folder from `hub releases`.")
@click.option("--url", default="", help="The hub's address: https://HOST:8770.")
@JSON_OPTION
def check(config_path: Path, folder: Path | None, url: str, *, as_json: bool) -> None:
    """Verify metadata and say what an update would fetch; nothing is changed.

    Without --from and --url the metadata that the agent has is judged.
    """
    from edge_agent import update_source
    from edge_agent.preview import look
    from edge_agent.update.folder import Folder

    if folder is not None and url:
        raise click.UsageError("give either --from or --url")
    config = read_config(config_path)
    source = update_source.FromAgent()
    if folder is not None:
        source = update_source.FromFolder(Folder(folder))
    elif url:
        source = update_source.web_source(config, config_path, url)
    with _checked():
        found, _ = look(config, config_path, source)
    print_document(found, found.lines(), as_json=as_json)


@update.command()
@CONFIG_OPTION
@click.option(
    "--from",
    "folder",
    type=_FROM,
    required=True,
    help="The folder that `hub releases download` wrote.",
)
@JSON_OPTION
def apply(config_path: Path, folder: Path, *, as_json: bool) -> None:
    """Hand a folder to the agent and follow the update to its end.

    Where the agent does not run, the update is carried out at its next start. To stop
    looking on (Ctrl-C) stops nothing else.
    """
    from edge_agent.apply import apply_folder

    with _checked():
        done = apply_folder(
            read_config(config_path),
            config_path,
            folder,
            lambda phase: click.echo(phase, err=True),
        )
    print_document(done, done.lines(), as_json=as_json)
    sys.exit(done.exit_code)


@contextmanager
def _checked() -> Iterator[None]:
    """Let a refusal end with its own exit code, and any other one with 7."""
    from edge_agent.errors import UpdateError

    try:
        yield
    except UpdateError as error:
        if type(error) is not UpdateError:
            raise
        click.echo(str(error), err=True)
        sys.exit(ExitCode.REFUSED)

"""``edge-agent tuf``: the metadata client as a command of its own. Exit code 0 or 1."""

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from edge_agent.base.exit_codes import ExitCode, ShoalError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    folder: Path
    url: str
    names: tuple[str, ...]
    base_url: str
    to: Path | None


@click.group("tuf")
@click.option(
    "--metadata-dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where trusted metadata is kept.",
)
@click.option("--metadata-url", "url", default="", help="The repository's metadata.")
@click.option("--target-name", "names", multiple=True, help="May be repeated.")
@click.option("--target-base-url", "base_url", default="", help="Where targets are.")
@click.option(
    "--target-dir",
    "to",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where downloads go.",
)
@click.pass_context
def tuf(  # noqa: PLR0913 - one parameter an option
    ctx: click.Context,
    *,
    folder: Path,
    url: str,
    names: tuple[str, ...],
    base_url: str,
    to: Path | None,
) -> None:
    """Follow a TUF repository: the agent's own metadata client, by itself."""
    ctx.obj = _Options(folder=folder, url=url, names=names, base_url=base_url, to=to)


@tuf.command()
@click.argument("root_file", type=click.Path(path_type=Path))
@click.pass_obj
def init(options: _Options, root_file: Path) -> None:
    """Begin to trust ROOT_FILE."""
    from edge_agent.update.tuf_client import start_trust

    try:
        start_trust(options.folder, root_file)
    except ShoalError as error:
        _fail(error)


@tuf.command()
@click.pass_obj
def refresh(options: _Options) -> None:
    """Bring trusted metadata up to date."""
    from edge_agent.update import tuf_client

    _need(options, "--metadata-url")
    try:
        tuf_client.refresh(options.folder, options.url)
    except ShoalError as error:
        _fail(error)


@tuf.command()
@click.pass_obj
def download(options: _Options) -> None:
    """Bring metadata up to date, then fetch and verify targets."""
    from edge_agent.update import tuf_client

    _need(
        options, "--metadata-url", "--target-name", "--target-base-url", "--target-dir"
    )
    try:
        for path in tuf_client.download(
            options.folder,
            options.url,
            options.names,
            base_url=options.base_url,
            to=options.to or Path(),
        ):
            click.echo(path)
    except ShoalError as error:
        _fail(error)


def _need(options: _Options, *wanted: str) -> None:
    given = {
        "--metadata-url": options.url,
        "--target-name": options.names,
        "--target-base-url": options.base_url,
        "--target-dir": options.to,
    }
    missing = [name for name in wanted if not given[name]]
    if missing:
        raise click.UsageError(f"missing before the command: {', '.join(missing)}")


def _fail(error: ShoalError) -> None:
    click.echo(str(error), err=True)
    sys.exit(ExitCode.FAILED)

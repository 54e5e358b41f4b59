"""``edge-agent run`` and ``join``: alone, in a fleet, and the way between."""

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from edge_agent.cli_output import (
    CONFIG_OPTION,
    JSON_OPTION,
    print_document,
    read_config,
)


@click.command()
@CONFIG_OPTION
@click.option(
    "--model",
    type=click.Path(exists=True, path_type=Path),
    help="Serve this .tflite file or bundle folder alone: no hub, no configuration.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Names of the model file's classes, one a line.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="HTTP port on loopback for --model; 0: none.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to keep for --model; by default one that is removed at the end.",
)
@click.pass_context
def run(  # noqa: PLR0913 - click gives each option as an argument
    ctx: click.Context,
    *,
    config_path: Path,
    model: Path | None,
    labels: Path | None,
    port: int,
    state_dir: Path | None,
) -> None:
    """Run the agent, or one model alone, until told to stop (SIGTERM, Ctrl-C)."""
    given = {
        name
        for name in ("config_path", "labels", "port", "state_dir")
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if model is None:
        if given - {"config_path"}:
            raise click.UsageError("--labels, --port and --state-dir need --model")
        from edge_agent.supervisor import Supervisor

        sys.exit(Supervisor(read_config(config_path), config_path).run())
    if "config_path" in given:
        raise click.UsageError("--model needs no --config: it has one of its own")
    from edge_agent.alone.run import Wish, run_alone

    wish = Wish(model=model, labels=labels, port=port, folder=state_dir)
    sys.exit(run_alone(wish, click.echo))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where agent.toml is, or will be; by default here.",
)
@JSON_OPTION
def join(file: Path, folder: Path, *, as_json: bool) -> None:
    """Join a fleet with the FILE that `hub devices join-file` wrote.

    Writes agent.toml and the root to trust, and gets the certificate. What was served
    alone stays as the factory model.
    """
    from edge_agent.join import join as join_fleet

    done = join_fleet(file, folder)
    print_document(done, done.lines(), as_json=as_json)

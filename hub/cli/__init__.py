"""The ``hub`` command line: one file a noun, loaded when it is used.

Data goes to standard output, messages to standard error; ``--json`` has stable
fields. Commands work on the database with the same services as ``hub serve``, so they
work while it runs, and its ticker takes up what they change. Heavy libraries are
imported inside the commands.
"""

import importlib
from pathlib import Path

import click

from edge_agent.base.exit_codes import ShoalError
from edge_agent.base.program import run_command_line
from hub.cli.output import show_waiting
from hub.config import HOME_VARIABLE, Home

DEFAULT_HOME = Path("hub-home")

_COMMANDS = {
    "alerts": "hub.cli.alerts:alerts",
    "backup": "hub.cli.backup:backup",
    "bench": "hub.cli.bench:bench",
    "broker": "hub.cli.broker:broker",
    "clock": "hub.cli.clock:clock",
    "demo": "hub.demo.cli:demo",
    "devices": "hub.cli.devices:devices",
    "export": "hub.cli.export:export",
    "ingest": "hub.cli.ingest:ingest",
    "init": "hub.cli.init:init",
    "keys": "hub.cli.keys:keys",
    "releases": "hub.cli.releases:releases",
    "rollouts": "hub.cli.rollouts:rollouts",
    "serve": "hub.cli.serve:serve",
    "tail": "hub.cli.tail:tail",
    "train": "hub.cli.train:train",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the names of all commands."""
        return sorted(_COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        cmd_name: str,
    ) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; an expected error becomes a text and its exit code."""
        try:
            return super().invoke(ctx)
        except ShoalError as error:
            click.echo(str(error), err=True)
            ctx.exit(error.exit_code)


@click.group(cls=LazyGroup)
@click.version_option(package_name="shoal", prog_name="hub")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_HOME,
    envvar=HOME_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="The hub's home folder.",
)
@click.pass_context
def cli(ctx: click.Context, home: Path) -> None:
    """Train, sign, roll out and watch models on a fleet of devices.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 5 conflict, 6 timeout, 7 refused
    by a gate, 8 broker unreachable.
    """
    ctx.obj = Home(home)
    if ctx.invoked_subcommand != "serve":  # which logs it
        show_waiting()


def main() -> None:
    """Run the command line."""
    run_command_line(cli, "hub")

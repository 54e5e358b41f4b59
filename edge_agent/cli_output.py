"""What the commands share: options, reading the configuration, printing."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from edge_agent.base.terminal import one_line

if TYPE_CHECKING:
    from edge_agent.config import AgentConfig

CONFIG_OPTION = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("agent.toml"),
    show_default=True,
    help="The device's configuration.",
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def read_config(config_path: Path) -> "AgentConfig":
    """Read the configuration, importing what that needs only now."""
    from edge_agent.config import read_agent_config

    return read_agent_config(config_path)


def socket_of(config_path: Path) -> Path:
    """Return where the agent of a configuration has its socket."""
    from edge_agent.status import socket_path

    return socket_path(read_config(config_path), config_path)


def print_document(document: object, lines: list[str], *, as_json: bool) -> None:
    """Print a document as JSON, or its lines; what a line quotes adds none."""
    if as_json:
        click.echo(msgspec.json.encode(document).decode())
    else:
        click.echo("\n".join(map(one_line, lines)))

"""``edge-agent models``: list what is on the device; pin, unpin, roll back."""

from pathlib import Path

import click

from edge_agent.cli_output import (
    CONFIG_OPTION,
    JSON_OPTION,
    print_document,
    read_config,
)


@click.group()
def models() -> None:
    """Show the device's models; keep one, or go back, against the hub's word."""


@models.command("list")
@CONFIG_OPTION
@JSON_OPTION
def list_command(config_path: Path, *, as_json: bool) -> None:
    """List active, previous and factory model with digest, size and state."""
    from edge_agent.models import list_models

    found = list_models(read_config(config_path), config_path)
    print_document(found, found.lines(), as_json=as_json)


@models.command()
@CONFIG_OPTION
@JSON_OPTION
def pin(config_path: Path, *, as_json: bool) -> None:
    """Stay on what is active: other releases wait, the hub is told."""
    _wish("pin", config_path, as_json=as_json)


@models.command()
@CONFIG_OPTION
@JSON_OPTION
def unpin(config_path: Path, *, as_json: bool) -> None:
    """Follow the hub again; what waited is taken up."""
    _wish("unpin", config_path, as_json=as_json)


@models.command()
@CONFIG_OPTION
@JSON_OPTION
def rollback(config_path: Path, *, as_json: bool) -> None:
    """Go back to the previous release now; the hub is told.

    What runs now is not taken again unless the hub forces it.
    """
    _wish("rollback", config_path, as_json=as_json)


def _wish(action: str, config_path: Path, *, as_json: bool) -> None:
    from edge_agent.models import wish
    from edge_agent.update.desk import Action

    done = wish(read_config(config_path), config_path, Action(action))
    print_document(done, done.lines(), as_json=as_json)

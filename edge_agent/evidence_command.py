"""``edge-agent evidence``: what the ring of own inputs holds; empty it."""

from pathlib import Path

import click

from edge_agent.cli_output import (
    CONFIG_OPTION,
    JSON_OPTION,
    print_document,
    socket_of,
)


@click.group()
def evidence() -> None:
    """Look at, or empty, the ring of own inputs that new releases are tested on."""


@evidence.command()
@CONFIG_OPTION
@JSON_OPTION
def show(config_path: Path, *, as_json: bool) -> None:
    """Show how many inputs are kept, how old they are, and what is wrong."""
    _ask(config_path, clear=False, as_json=as_json)


@evidence.command()
@CONFIG_OPTION
@JSON_OPTION
def clear(config_path: Path, *, as_json: bool) -> None:
    """Overwrite all kept inputs now; the ring fills again from what comes next."""
    _ask(config_path, clear=True, as_json=as_json)


def _ask(config_path: Path, *, clear: bool, as_json: bool) -> None:
    from edge_agent.evidence_text import evidence_text
    from edge_agent.serve.client import Client

    with Client(socket_of(config_path)) as client:
        found = client.forget_evidence() if clear else client.evidence()
    print_document(found, [evidence_text(found)], as_json=as_json)

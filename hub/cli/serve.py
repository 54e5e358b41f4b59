"""``hub serve``: run the hub."""

import logging
import signal
import sys

import click

from hub.cli.output import utc_text
from hub.config import Home
from hub.ingest.shard import Shard
from hub.role import Part, Role

log = logging.getLogger(__name__)

KEYS_WARNING = "keys.warning"
HOME_RESTORED = "home.restored"


def _read_shard(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> Shard:
    try:
        return Shard.parse(text) if text else Shard()
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _tell_of_keys(home: Home) -> None:
    """Log what `hub keys status` warns of: nobody has to remember to look."""
    from edge_agent.base.clock import SystemClock
    from hub.releases.ceremony import Ceremony

    for warning in Ceremony(home, SystemClock()).status().warnings:
        log.warning(KEYS_WARNING, extra={"text": warning.text, "cure": warning.cure})


def _tell_of_restore(home: Home) -> None:
    """Log that this home was made of a backup: devices may know newer numbers."""
    from hub.backup.restore import read_restored

    found = read_restored(home)
    if found is not None:
        log.warning(
            HOME_RESTORED,
            extra={
                "backup": found.backup,
                "made": utc_text(found.created_at),
                "restored": utc_text(found.at),
            },
        )


@click.command()
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.ALL.value,
    show_default=True,
    help="Everything in one process, or a part of it.",
)
@click.option(
    "--shard",
    metavar="NUMBER/OF",
    callback=_read_shard,
    help="With --role ingest: which share of the devices, such as 2/4.",
)
@click.option("--verbose", is_flag=True, help="Log debug messages too.")
@click.pass_obj
def serve(home: Home, role: str, shard: Shard, *, verbose: bool) -> None:
    """Run the hub until SIGTERM or Ctrl-C.

    Without a broker it says so once and keeps trying.
    """
    if shard.of > 1 and role != Role.INGEST:
        raise click.UsageError("--shard goes with --role ingest")
    from edge_agent.base.log import set_up_logging
    from hub.descriptors import raise_limit
    from hub.service import Hub, open_services
    from hub.storage.db import leave_one_file

    set_up_logging(verbose=verbose)
    raise_limit()
    part = Part(role=Role(role), shard=shard)
    services = open_services(home)
    hub = Hub(services, part)
    if part.controls:
        _tell_of_keys(home)
        _tell_of_restore(home)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: hub.request_stop())
    code = hub.run()
    leave_one_file(services.engine)
    sys.exit(code)

"""``hub serve``: run the hub."""

import signal
import sys

import click

from hub.config import Home


@click.command()
@click.option("--verbose", is_flag=True, help="Log debug messages too.")
@click.pass_obj
def serve(home: Home, *, verbose: bool) -> None:
    """Run the hub until SIGTERM or Ctrl-C.

    Without a broker it says so once and keeps trying.
    """
    from edge_agent.base.log import set_up_logging
    from hub.service import Hub, open_services

    set_up_logging(verbose=verbose)
    hub = Hub(open_services(home))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: hub.request_stop())
    sys.exit(hub.run())

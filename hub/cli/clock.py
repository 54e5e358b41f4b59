"""``hub clock``: what the hub makes of the system's clock."""

import click
import msgspec

from hub.cli.output import json_option, print_fields, print_json, utc_text
from hub.config import Home


class ClockView(msgspec.Struct, frozen=True, kw_only=True):
    """The system's clock, the time that is known, and why they disagree."""

    trusted: bool
    clock_at: float
    known_at: float
    reason: str


@click.group()
def clock() -> None:
    """Look at the hub's clock, or say that it is right."""


@clock.command("show")
@json_option
@click.pass_obj
def show_command(home: Home, *, as_json: bool) -> None:
    """Show whether the system's clock is believed, and why not."""
    from hub.clock_trust import HubClock
    from hub.service import open_services

    found = open_services(home).clock
    if isinstance(found, HubClock):
        verdict = found.check()
        view = ClockView(
            trusted=verdict.is_trusted,
            clock_at=verdict.clock,
            known_at=verdict.known,
            reason=verdict.reason,
        )
        _print(view, as_json=as_json)


@clock.command("accept")
@click.pass_obj
def accept_command(home: Home) -> None:
    """Say that the system's clock is right, whatever the hub knew before.

    A hub that runs takes it up within a second.
    """
    from hub.clock_trust import HubClock
    from hub.service import open_services

    found = open_services(home).clock
    if isinstance(found, HubClock):
        verdict = found.accept()
        click.echo(f"{utc_text(verdict.clock)} is taken for right", err=True)


def _print(view: ClockView, *, as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    print_fields(
        [
            ("clock", utc_text(view.clock_at)),
            ("known", utc_text(view.known_at)),
            ("believed", "yes" if view.trusted else f"no: {view.reason}"),
        ]
    )

"""``hub alerts``: incidents and what they rest on."""

from typing import TYPE_CHECKING

import click
import msgspec

from hub.cli.output import ago_text, json_option, print_fields, print_json, print_table
from hub.config import Home

if TYPE_CHECKING:
    from hub.storage.alerts import AlertRow


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as ``--json`` shows it; ``evidence`` is of its rule's own kind."""

    id: int
    rule: str
    release: int
    cohort: str
    state: str
    severity: str
    summary: str
    pending_at: float | None
    fired_at: float | None
    resolved_at: float | None
    updated_at: float
    evidence: msgspec.Raw


@click.group()
def alerts() -> None:
    """Show alerts."""


@alerts.command("list")
@click.option("--open", "only_open", is_flag=True, help="Only what is not resolved.")
@json_option
@click.pass_obj
def list_command(home: Home, *, only_open: bool, as_json: bool) -> None:
    """List incidents, oldest first."""
    from hub.alerts.service import list_incidents
    from hub.service import open_services

    services = open_services(home)
    rows = list_incidents(services.engine, only_open=only_open)
    views = [_view(row) for row in rows]
    if as_json:
        print_json(views)
        return
    print_table(
        ("alert", "rule", "state", "cohort", "release", "since", "summary"),
        [
            (
                view.id,
                view.rule,
                view.state,
                view.cohort or "-",
                view.release,
                ago_text(_since(view)),
                view.summary,
            )
            for view in views
        ],
    )


@alerts.command("get")
@click.argument("alert", type=int)
@json_option
@click.pass_obj
def get_command(home: Home, alert: int, *, as_json: bool) -> None:
    """Show one incident with its evidence."""
    from hub.alerts.service import get_incident
    from hub.service import open_services

    view = _view(get_incident(open_services(home).engine, alert))
    if as_json:
        print_json(view)
        return
    print_fields(
        [
            ("alert", view.id),
            ("rule", view.rule),
            ("state", view.state),
            ("severity", view.severity),
            ("cohort", view.cohort or "-"),
            ("release", view.release),
            ("since", ago_text(_since(view))),
            ("looked at", ago_text(view.updated_at)),
            ("summary", view.summary),
        ]
    )
    click.echo(msgspec.json.format(bytes(view.evidence), indent=2))


def _since(view: AlertView) -> float:
    return view.fired_at or view.pending_at or view.updated_at


def _view(row: "AlertRow") -> AlertView:
    return AlertView(
        id=row.id,
        rule=row.rule,
        release=row.release,
        cohort=row.cohort,
        state=str(row.alert.state),
        severity=row.severity,
        summary=row.summary,
        pending_at=row.alert.pending_at,
        fired_at=row.alert.fired_at,
        resolved_at=row.alert.resolved_at,
        updated_at=row.updated_at,
        evidence=msgspec.Raw(msgspec.json.encode(row.evidence)),
    )

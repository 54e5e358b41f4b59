"""``hub rollouts``: start, watch, explain, promote and abort rollouts."""

import time
from collections import Counter
from typing import TYPE_CHECKING

import click
import msgspec

from edge_agent.base.exit_codes import ExitCode
from edge_agent.base.terminal import one_line
from hub.cli.evidence import detail_text, left_out_text, user_name
from hub.cli.output import (
    ago_text,
    json_option,
    print_fields,
    print_json,
    print_table,
)
from hub.cli.rollout_views import TransitionView, rollout_detail, rollout_view
from hub.config import Home

if TYPE_CHECKING:
    from hub.rollout.service import RolloutService
    from hub.storage.rollouts import RolloutDeviceRow, RolloutRow

_POLL_S = 0.3
_END_CODES = {
    "COMPLETED": ExitCode.OK,
    "ROLLED_BACK": ExitCode.REFUSED,
    "SUPERSEDED": ExitCode.CONFLICT,
}


timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=float,
    default=3600.0,
    show_default=True,
    help="Seconds to wait at most.",
)


@click.group()
def rollouts() -> None:
    """Start, watch, promote and abort rollouts."""


@rollouts.command("start")
@click.argument("release", type=int)
@click.option(
    "--stages",
    metavar="SHARES",
    default="",
    help="Cumulative shares of the fleet, e.g. 0.25,0.5,1.0.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Also to devices on which it, or too much lately, failed.",
)
@click.option(
    "--promote-untested",
    is_flag=True,
    help="Promote past a stage's deadline what devices could not test.",
)
@click.option("--wait", is_flag=True, help="Wait for its end, as `watch` does.")
@timeout_option
@json_option
@click.pass_obj
def start_command(  # noqa: PLR0913 - one argument an option
    home: Home,
    release: int,
    stages: str,
    timeout_s: float,
    *,
    force: bool,
    promote_untested: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Roll RELEASE out in stages; `hub serve` does the work."""
    service = _service(home)
    rollout = service.start(
        release,
        stages=_shares(stages),
        forced=force,
        promote_untested=promote_untested,
    )
    if wait:
        click.echo(f"rollout {rollout}", err=True)
        _watch(service, rollout, timeout_s, as_json=as_json)
        return
    row, _ = service.get(rollout)
    if as_json:
        print_json(rollout_view(row))
    else:
        click.echo(rollout)


@rollouts.command("list")
@json_option
@click.pass_obj
def list_command(home: Home, *, as_json: bool) -> None:
    """List all rollouts, oldest first."""
    views = [rollout_view(row) for row in _service(home).list_rollouts()]
    if as_json:
        print_json(views)
        return
    print_table(
        ("rollout", "release", "from", "state", "stage", "changed", "reason"),
        [
            (
                view.id,
                view.release,
                view.incumbent or "-",
                view.state,
                f"{view.stage + 1}/{len(view.stages)}",
                ago_text(view.updated_at),
                view.reason,
            )
            for view in views
        ],
    )


@rollouts.command("get")
@click.argument("rollout")
@json_option
@click.pass_obj
def get_command(home: Home, rollout: str, *, as_json: bool) -> None:
    """Show one rollout and its devices."""
    from hub.rollout.gone import gone_text

    detail = rollout_detail(*_service(home).get(rollout))
    if as_json:
        print_json(detail)
        return
    print_fields(
        [
            ("rollout", detail.id),
            ("release", detail.release),
            ("from", detail.incumbent or "-"),
            ("state", detail.state),
            ("stage", f"{detail.stage + 1} of {len(detail.stages)}"),
            ("devices", f"{len(detail.devices)} of {detail.planned}"),
            ("left out", left_out_text(detail.left_out)),
            ("gone", gone_text(detail.gone) or "-"),
            ("reason", detail.reason or "-"),
            ("changed", ago_text(detail.updated_at)),
        ]
    )
    print_table(
        ("device", "stage", "outcome", "since", "code", "detail"),
        [
            (
                d.device,
                d.stage + 1,
                detail.gone.get(d.device) or d.outcome or "pending",
                ago_text(d.decided_at or d.assigned_at),
                d.code or "-",
                detail_text(d.detail, d.retried_after),
            )
            for d in detail.devices
        ],
    )


@rollouts.command("watch")
@click.argument("rollout")
@timeout_option
@json_option
@click.pass_obj
def watch_command(home: Home, rollout: str, timeout_s: float, *, as_json: bool) -> None:
    """Print each change of a rollout until it ends.

    Exits with 0 if it completed, 7 if it was rolled back, 5 if it was superseded.
    """
    _watch(_service(home), rollout, timeout_s, as_json=as_json)


@rollouts.command("abort")
@click.argument("rollout")
@click.option("--reason", default="aborted by the operator", help="Noted with it.")
@json_option
@click.pass_obj
def abort_command(home: Home, rollout: str, reason: str, *, as_json: bool) -> None:
    """Abort a rollout; its devices go back to the incumbent."""
    service = _service(home)
    service.abort(rollout, reason)
    if as_json:
        print_json(rollout_view(service.get(rollout)[0]))
    else:
        click.echo(f"{rollout} is being rolled back", err=True)


@rollouts.command("promote")
@click.argument("rollout")
@click.option(
    "--approve",
    "why",
    required=True,
    metavar="WHY",
    help="Why it may go on without the evidence; noted with your name.",
)
@click.option(
    "--stage",
    type=click.IntRange(min=1),
    help="The stage that you mean; if it is over, nothing is approved.",
)
@json_option
@click.pass_obj
def promote_command(
    home: Home, rollout: str, why: str, stage: int | None, *, as_json: bool
) -> None:
    """Let the present stage go on without the evidence that it lacks.

    What is inconclusive now passes. Devices that still have to answer are waited for,
    and failures stop a release as ever.
    """
    if not why.strip():
        raise click.BadParameter("say why", param_hint="--approve")
    service = _service(home)
    only = None if stage is None else stage - 1
    service.promote(rollout, why=why.strip(), who=user_name(), stage=only)
    if as_json:
        print_json(rollout_view(service.get(rollout)[0]))
    else:
        click.echo(f"{rollout}: noted; it goes on at the next step", err=True)


@rollouts.command("explain")
@click.argument("rollout")
@json_option
@click.pass_obj
def explain_command(home: Home, rollout: str, *, as_json: bool) -> None:
    """Show why a rollout went as it did; --json adds the facts of each decision."""
    events = _service(home).explain(rollout)
    if as_json:
        print_json(
            [
                TransitionView(
                    at=event.at,
                    from_state=event.from_state,
                    to_state=event.to_state,
                    reason=event.reason,
                    inputs=msgspec.Raw(event.inputs.encode()),
                )
                for event in events
            ]
        )
        return
    first = events[0].at if events else 0.0
    print_table(
        ("at", "after", "from", "to", "reason"),
        [
            (
                ago_text(event.at),
                f"{event.at - first:.1f} s",
                event.from_state,
                event.to_state,
                event.reason,
            )
            for event in events
        ],
    )


def _watch(
    service: "RolloutService", rollout: str, timeout_s: float, *, as_json: bool
) -> None:
    from hub.errors import WaitTimeoutError

    deadline = time.monotonic() + timeout_s
    shown = ""
    while True:
        row, given = service.get(rollout)
        line = _line(row, given)
        if line != shown and not as_json:
            click.echo(one_line(line))
        shown = line
        if row.state.value in _END_CODES:
            if as_json:
                print_json(rollout_detail(row, given))
            click.get_current_context().exit(_END_CODES[row.state.value])
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(
                "HUB-ROLLOUT-006",
                f"{rollout} is still {row.state} after {timeout_s:.0f} s",
                cure="it goes on; watch it again, or abort it",
            )
        time.sleep(_POLL_S)


def _line(row: "RolloutRow", given: "list[RolloutDeviceRow]") -> str:
    counts = Counter(device.outcome or "pending" for device in given)
    devices = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items()))
    if retried := sum(1 for device in given if device.retries):
        devices += f", {retried} tried once more"
    stage = f"stage {row.stage + 1}/{len(row.plan.stages)}"
    return "  ".join(filter(None, (row.state.value, stage, devices, row.reason)))


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        hint = f"{text!r} is not a list such as 0.25,0.5,1.0"
        raise click.BadParameter(hint, param_hint="--stages") from error


def _service(home: Home) -> "RolloutService":
    from hub.service import open_services

    return open_services(home).rollouts

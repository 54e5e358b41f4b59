"""``hub devices``: what devices are, report, and were told; enrolment."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import msgspec

from edge_agent.wire.control import Presence, Reported
from edge_agent.wire.records import PairedSummary, ShadowSummary
from hub.cli.activations import (
    ActivationView,
    activation_text,
    activation_view,
    api_text,
    held_text,
    left_out_text,
    obstacle_text,
    shadow_text,
)
from hub.cli.evidence import paired_text
from hub.cli.gone import forget, retire
from hub.cli.join_file import join_file
from hub.cli.output import (
    age_text,
    ago_text,
    json_option,
    print_fields,
    print_json,
    print_table,
    read_duration,
    utc_text,
)
from hub.config import Home

if TYPE_CHECKING:
    from hub.storage.clones import CloneRow
    from hub.storage.devices import AssignmentRow, DeviceRow
    from hub.storage.hub_links import HubLinkRow


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """A device as ``--json`` shows it; ``age_s`` is since it was last heard.

    ``online`` is what the broker said, as of ``online_at``; nobody is where the hub
    does not serve or has no broker (``link``: up, down, not serving).
    """

    id: str
    online: bool
    cohort: str
    release: int
    sha256: str
    phase: str
    age_s: float
    last_seen_at: float
    first_seen_at: float
    clock_offset_s: float
    clock_untrusted: bool
    boot: str
    certificate_ends_at: float | None
    online_at: float | None = None
    link: str = ""
    retired_at: float | None = None


class AssignmentView(msgspec.Struct, frozen=True, kw_only=True):
    """What a device shall run (release 0: nothing any more)."""

    seq: int
    release: int
    rollout: str
    issued_at: float
    published_at: float | None


class CloneView(msgspec.Struct, frozen=True, kw_only=True):
    """That two devices use this id, by the newest sign of it."""

    detail: str
    times: int
    first_at: float
    last_at: float


class DeviceDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A device with its twin and presence, as they came."""

    device: DeviceView
    desired: AssignmentView | None
    reported: Reported | None
    presence: Presence | None
    clone: CloneView | None = None
    activation: ActivationView | None = None
    shadow: ShadowSummary | None = None
    paired: PairedSummary | None = None


@click.group()
def devices() -> None:
    """Show devices; enrol, revoke, retire and forget them."""


devices.add_command(join_file)
devices.add_command(retire)
devices.add_command(forget)


@devices.command("list")
@json_option
@click.pass_obj
def list_command(home: Home, *, as_json: bool) -> None:
    """List all devices."""
    from hub.service import open_services

    services = open_services(home)
    now = services.clock.wall()
    facts = _Facts(now, services.devices.link_state(), services.identity.expiries())
    views = [_view(row, facts) for row in services.devices.list_devices()]
    if as_json:
        print_json(views)
        return
    print_table(
        ("device", "online", "cohort", "release", "phase", "seen", "certificate"),
        [
            (
                view.id,
                _online_text(view),
                view.cohort or "-",
                _release_text(view),
                view.phase or "-",
                _seen_text(view),
                _certificate_text(view.certificate_ends_at, now),
            )
            for view in views
        ],
    )
    click.echo(_link_text(facts), err=True)


@devices.command("get")
@click.argument("device")
@json_option
@click.pass_obj
def get_command(home: Home, device: str, *, as_json: bool) -> None:
    """Show one device."""
    from hub.service import open_services

    services = open_services(home)
    row, assignment = services.devices.get(device)
    activation = services.devices.activation_of(device)
    facts = _Facts(
        services.clock.wall(),
        services.devices.link_state(),
        services.identity.expiries(),
    )
    detail = DeviceDetail(
        device=_view(row, facts),
        desired=_assignment_view(assignment) if assignment else None,
        reported=row.reported,
        presence=row.presence,
        clone=_clone_view(services.devices.clone_of(device)),
        activation=activation_view(activation),
        shadow=activation.shadow,
        paired=activation.paired,
    )
    if as_json:
        print_json(detail)
        return
    _print_detail(detail)
    click.echo(_link_text(facts), err=True)


@devices.command("enroll-token")
@click.argument("device")
@click.option(
    "--valid-for",
    callback=read_duration,
    default="1h",
    show_default=True,
    help="How long it can be used: 90s, 30m, 1h, 7d.",
)
@json_option
@click.pass_obj
def enroll_token(home: Home, device: str, valid_for: float, *, as_json: bool) -> None:
    """Print a one-time token with which DEVICE gets its certificate.

    It replaces an earlier one. The hub keeps only its sha256.
    """
    from hub.service import open_services

    made = open_services(home).identity.issue_token(device, valid_for)
    if as_json:
        print_json(made)
        return
    click.echo(made.token)
    click.echo(f"for {device}, once, until {utc_text(made.expires_at)}", err=True)


@devices.command("revoke")
@click.argument("device")
@json_option
@click.pass_obj
def revoke_command(home: Home, device: str, *, as_json: bool) -> None:
    """Revoke every certificate of DEVICE, and its token.

    The hub takes nothing from it any more. The broker is told too, where its folder is
    known (hub broker config) and may be written; else it is said what to run.
    """
    from hub.identity.enforcement import inform_broker, what_to_run
    from hub.service import open_services

    identity = open_services(home).identity
    count = identity.revoke(device)
    informed = inform_broker(home, identity)
    if as_json:
        print_json({"device": device, "revoked": count, "broker": informed})
        return
    click.echo(f"{count} certificates of {device} revoked", err=True)
    click.echo(what_to_run(home, informed), err=True)


def _print_detail(detail: DeviceDetail) -> None:
    view, desired, reported = detail.device, detail.desired, detail.reported
    presence = detail.presence
    labels = presence.labels if presence else {}
    print_fields(
        [
            ("device", view.id),
            ("online", _online_text(view)),
            ("seen", _seen_text(view)),
            ("cohort", view.cohort or "-"),
            ("labels", ", ".join(f"{k}={v}" for k, v in labels.items()) or "-"),
            ("agent", (presence.agent if presence else "") or "-"),
            ("runtime", (presence.runtime if presence else "") or "-"),
            ("hardware", (presence.hardware if presence else "") or "-"),
            ("clock offset", _clock_text(view)),
            ("release", _release_text(view)),
            ("model", view.sha256 or "-"),
            ("previous", (reported.previous if reported else 0) or "-"),
            ("phase", view.phase or "-"),
            ("activation", activation_text(detail.activation)),
            ("waits for", obstacle_text(reported)),
            ("leaves out", left_out_text(reported)),
            ("local API", api_text(reported)),
            ("shadow", shadow_text(detail.shadow)),
            ("paired test", paired_text(detail.paired)),
            ("quarantined", held_text(reported)),
            ("certificate", _certificate_text(view.certificate_ends_at, time.time())),
            ("twice", _clone_text(detail.clone)),
            (
                "desired",
                f"release {desired.release} by {desired.rollout}, seq {desired.seq},"
                f" {ago_text(desired.issued_at)}"
                if desired
                else "-",
            ),
        ]
    )


def _clock_text(view: DeviceView) -> str:
    offset = f"{view.clock_offset_s:.1f} s"
    return (
        f"{offset}, untrusted: set it (NTP); the hub's own: `hub clock show`"
        if view.clock_untrusted
        else offset
    )


def _release_text(view: DeviceView) -> str:
    """Say what answers there: a release, the model that came with it, or nothing."""
    if view.release:
        return str(view.release)
    return "factory" if view.sha256 else "-"


def _seen_text(view: DeviceView) -> str:
    return f"{age_text(view.age_s)} ago" if view.last_seen_at else "never"


def _certificate_text(ends_at: float | None, now: float) -> str:
    """Say how long a device's certificate lasts; it renews itself with 30 days left."""
    if ends_at is None:
        return "-"
    return f"{(ends_at - now) / 86_400:.0f} d" if ends_at > now else "expired"


@dataclass(frozen=True, slots=True)
class _Facts:
    """What holds of all devices: the time, the hub's link, ends of certificates."""

    now: float
    link: "HubLinkRow"
    ends: Mapping[str, float]

    @property
    def state(self) -> str:
        """Say whether the hub has its broker."""
        if not self.link.serves(self.now):
            return "not serving"
        return "up" if self.link.up else "down"


def _link_text(facts: _Facts) -> str:
    """Say as of when it is known who is online."""
    link, state = facts.link, facts.state
    if state == "up":
        return f"online as of {ago_text(link.beat_at)}"
    if state == "down":
        since = ago_text(link.since_at)
        return f"the hub lost its broker {since}: nobody is known to be online"
    return f"hub serve last ran {ago_text(link.beat_at)}: nobody is known to be online"


def _online_text(view: DeviceView) -> str:
    if view.retired_at:
        return "retired"
    return "yes" if view.online else "no"


def _view(row: "DeviceRow", facts: _Facts) -> DeviceView:
    now, ends = facts.now, facts.ends
    return DeviceView(
        id=row.id,
        online=row.online and facts.link.knows(now),
        online_at=facts.link.beat_at or None,
        link=facts.state,
        retired_at=row.retired_at,
        cohort=row.cohort,
        release=row.release,
        sha256=row.sha256,
        phase=row.reported.phase if row.reported else "",
        age_s=round(max(0.0, now - row.last_seen_at), 3),
        last_seen_at=row.last_seen_at,
        first_seen_at=row.first_seen_at,
        clock_offset_s=row.clock_offset_s,
        clock_untrusted=row.reported is not None
        and row.reported.clock_untrusted is True,
        certificate_ends_at=ends.get(row.id),
        boot=row.boot,
    )


def _clone_view(row: "CloneRow | None") -> CloneView | None:
    if row is None:
        return None
    return CloneView(
        detail=row.detail, times=row.times, first_at=row.first_at, last_at=row.last_at
    )


def _clone_text(clone: CloneView | None) -> str:
    if clone is None:
        return "no"
    since, last = utc_text(clone.first_at), utc_text(clone.last_at)
    return f"yes, {clone.times} times from {since} to {last}: {clone.detail}"


def _assignment_view(row: "AssignmentRow") -> AssignmentView:
    return AssignmentView(
        seq=row.seq,
        release=row.release,
        rollout=row.rollout,
        issued_at=row.issued_at,
        published_at=row.published_at,
    )

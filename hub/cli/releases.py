"""``hub releases``: take bundles in, sign and publish them, show them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from edge_agent.wire.manifest import Bundle, GateReport
from hub.cli.carrying import download_command
from hub.cli.output import json_option, print_fields, print_json, print_table
from hub.cli.signing import floor_command, publish_command
from hub.config import Home

if TYPE_CHECKING:
    from hub.releases.deltas import Delta
    from hub.releases.service import ReleaseService
    from hub.storage.releases import ReleaseRow


class DeltaView(msgspec.Struct, frozen=True, kw_only=True):
    """A patch to a release's model (``base`` 0: from nothing), as ``--json`` shows it.

    ``ratio`` is its share of the whole model's bytes.
    """

    base: int
    way: str
    bytes: int
    ratio: float


class ReleaseView(msgspec.Struct, frozen=True, kw_only=True):
    """A release as ``--json`` shows it."""

    release: int
    name: str
    state: str
    variant: str
    accuracy: float
    model_sha256: str
    model_bytes: int
    created_at: float
    published_at: float | None
    deltas: list[DeltaView]


class ReleaseDetail(ReleaseView, frozen=True, kw_only=True):
    """A release with its gate, its override if there was one, and its whole bundle."""

    gate: GateReport
    override_gate: str
    bundle: Bundle
    thresholds: msgspec.Raw


@click.group()
def releases() -> None:
    """Take in, publish and show releases."""


@releases.command("list")
@json_option
@click.pass_obj
def list_command(home: Home, *, as_json: bool) -> None:
    """List all releases."""
    from hub.service import open_services

    service = open_services(home).releases
    views = [_view(service, row) for row in service.list_releases()]
    if as_json:
        print_json(views)
        return
    print_table(
        (
            *("release", "name", "state", "variant", "accuracy", "model"),
            *("deltas", "created"),
        ),
        [
            (
                view.release,
                view.name,
                view.state,
                view.variant,
                f"{view.accuracy:.3f}",
                f"{view.model_bytes / 1024:.1f} KiB",
                ", ".join(map(_delta_text, view.deltas)) or "-",
                _time_text(view.created_at),
            )
            for view in views
        ],
    )


@releases.command("get")
@click.argument("release", type=int)
@json_option
@click.pass_obj
def get_command(home: Home, release: int, *, as_json: bool) -> None:
    """Show one release."""
    from hub.service import open_services

    service = open_services(home).releases
    row = service.get(release)
    view = _view(service, row)
    bundle = row.manifest.bundle
    detail = ReleaseDetail(
        **msgspec.structs.asdict(view),
        gate=bundle.gate,
        override_gate=service.note(release).override_gate,
        bundle=bundle,
        thresholds=msgspec.Raw(row.thresholds.encode() or b"null"),
    )
    if as_json:
        print_json(detail)
        return
    print_fields(
        [
            ("release", view.release),
            ("name", view.name),
            ("state", view.state),
            ("variant", view.variant),
            ("accuracy", f"{view.accuracy:.3f}"),
            ("model", f"{view.model_sha256} ({view.model_bytes} bytes)"),
            ("deltas", ", ".join(map(_delta_text, view.deltas)) or "-"),
            ("labels", ", ".join(bundle.labels)),
            ("created", _time_text(view.created_at)),
            (
                "published",
                _time_text(view.published_at) if view.published_at else "-",
            ),
            ("gate", "passed" if bundle.gate.ok else "REFUSED"),
            ("override", detail.override_gate or "-"),
        ]
    )
    print_table(
        ("check", "ok", "observed", "limit", "n"),
        [
            (
                check.name,
                "yes" if check.ok else "NO",
                f"{check.observed:.4g}",
                f"{check.limit:.4g}",
                check.n,
            )
            for check in bundle.gate.checks
        ],
    )


@releases.command("create")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--override-gate",
    metavar="REASON",
    default="",
    help="Take in what the trainer's gate refused, and note why.",
)
@click.option("--no-publish", is_flag=True, help="Do not sign and publish it yet.")
@json_option
@click.pass_obj
def create_command(
    home: Home, bundle: Path, override_gate: str, *, no_publish: bool, as_json: bool
) -> None:
    """Check a BUNDLE folder, make it a release, sign and publish it."""
    from hub.service import open_services

    service = open_services(home).releases
    release = service.take_in(bundle, override_gate=override_gate)
    if not no_publish:
        service.publish(release)
    view = _view(service, service.get(release))
    if as_json:
        print_json(view)
        return
    click.echo(f"release {release} is {view.state}")


releases.add_command(publish_command)
releases.add_command(floor_command)
releases.add_command(download_command)


def _view(service: "ReleaseService", row: "ReleaseRow") -> ReleaseView:
    bundle = row.manifest.bundle
    deltas = service.deltas(row.release)
    return ReleaseView(
        release=row.release,
        name=row.name,
        state=row.state,
        variant=bundle.variant,
        accuracy=bundle.accuracy,
        model_sha256=row.model_sha256,
        model_bytes=bundle.model.bytes,
        created_at=row.created_at,
        published_at=row.published_at,
        deltas=[_delta_view(delta, bundle) for delta in deltas],
    )


def _delta_view(delta: "Delta", bundle: Bundle) -> DeltaView:
    return DeltaView(
        base=delta.base_release,
        way=delta.way,
        bytes=delta.bytes,
        ratio=round(delta.bytes / bundle.model.bytes, 4),
    )


def _delta_text(view: DeltaView) -> str:
    base = f"from {view.base}" if view.base else "from nothing"
    return f"{base}: {view.bytes / 1024:.1f} KiB ({view.ratio:.0%})"


def _time_text(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"

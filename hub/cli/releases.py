"""``hub releases``: take bundles in, sign and publish them, show them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from edge_agent.wire.manifest import Bundle, GateReport, TensorContract
from hub.cli.carrying import download_command
from hub.cli.output import json_option, print_fields, print_json, print_table
from hub.cli.release_import import import_command
from hub.cli.signing import floor_command, publish_command
from hub.config import Home

SHOWN_LABELS = 32

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
                _accuracy_text(view.accuracy),
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
    print_fields(_fields(detail))
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
    tell_release(service, release, as_json=as_json)


def tell_release(service: "ReleaseService", release: int, *, as_json: bool) -> None:
    """Print what a release is by now."""
    view = _view(service, service.get(release))
    if as_json:
        print_json(view)
    else:
        click.echo(f"release {release} is {view.state}")


releases.add_command(import_command)
releases.add_command(publish_command)
releases.add_command(floor_command)
releases.add_command(download_command)


def _fields(detail: ReleaseDetail) -> list[tuple[str, object]]:
    return [
        ("release", detail.release),
        ("name", detail.name),
        ("state", detail.state),
        ("variant", detail.variant),
        ("accuracy", _accuracy_text(detail.accuracy)),
        ("model", f"{detail.model_sha256} ({detail.model_bytes} bytes)"),
        ("deltas", ", ".join(map(_delta_text, detail.deltas)) or "-"),
        ("inputs", ", ".join(_tensor_text(one.tensor) for one in detail.bundle.inputs)),
        ("outputs", ", ".join(map(_tensor_text, detail.bundle.outputs))),
        ("labels", _labels_text(detail.bundle.labels)),
        ("created", _time_text(detail.created_at)),
        (
            "published",
            _time_text(detail.published_at) if detail.published_at else "-",
        ),
        ("gate", "passed" if detail.bundle.gate.ok else "REFUSED"),
        ("override", detail.override_gate or "-"),
    ]


def _accuracy_text(accuracy: float) -> str:
    # Of a model that was imported without labels nothing is known.
    return f"{accuracy:.3f}" if accuracy else "-"


def _tensor_text(tensor: TensorContract) -> str:
    return f"{tensor.name} {tensor.dtype}{tensor.shape}"


def _labels_text(labels: list[str]) -> str:
    more = f" … ({len(labels)})" if len(labels) > SHOWN_LABELS else ""
    return ", ".join(labels[:SHOWN_LABELS]) + more or "none: it answers with values"


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

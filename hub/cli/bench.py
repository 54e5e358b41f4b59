"""``hub bench``: what models cost on each hardware class, as devices measured it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from hub.cli.output import json_option, print_json, print_table, utc_text
from hub.config import Home

if TYPE_CHECKING:
    from edge_agent.wire.bench import BenchReport

MIB = 1 << 20


class BenchView(msgspec.Struct, frozen=True, kw_only=True):
    """A report as ``--json`` shows it; ``release`` is 0 where the model is of none."""

    release: int
    report: "BenchReport"


class AddedView(msgspec.Struct, frozen=True, kw_only=True):
    """How many reports are new, and how many were there."""

    added: int
    known: int


@click.group()
def bench() -> None:
    """Keep and compare what edge-agent bench measured, by hardware class."""


@bench.command("add")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@json_option
@click.pass_obj
def add_command(home: Home, files: tuple[Path, ...], *, as_json: bool) -> None:
    """Keep FILES, which edge-agent bench --output wrote; one that is there stays."""
    from hub.service import open_services
    from hub.storage.benches import insert_bench
    from hub.storage.db import transaction

    reports = [_read(file) for file in files]
    services = open_services(home)
    with transaction(services.engine) as conn:
        now = services.clock.wall()
        added = sum(insert_bench(conn, report, now) for report in reports)
    view = AddedView(added=added, known=len(reports) - added)
    if as_json:
        print_json(view)
        return
    click.echo(f"{view.added} added, {view.known} known already", err=True)


@bench.command("list")
@click.option("--hardware", default="", help="Of this hardware class only.")
@json_option
@click.pass_obj
def list_command(home: Home, hardware: str, *, as_json: bool) -> None:
    """List the newest report of each model on each hardware class."""
    from hub.service import open_services
    from hub.storage.benches import newest_benches

    services = open_services(home)
    releases = {
        row.model_sha256: row.release for row in services.releases.list_releases()
    }
    with services.engine.connect() as conn:
        reports = newest_benches(conn, hardware)
    views = [BenchView(release=releases.get(r.sha256, 0), report=r) for r in reports]
    if as_json:
        print_json(views)
        return
    print_table(
        ("hardware", "release", "model", "median", "99 %", "per s", "memory", "at"),
        [_row(view) for view in views],
    )


def _row(view: BenchView) -> tuple[object, ...]:
    report = view.report
    return (
        report.hardware,
        view.release or "-",
        f"{report.model} {report.sha256[:8]}",
        f"{report.p50_us:.1f} us",
        f"{report.p99_us:.1f} us",
        f"{report.per_s:.0f}",
        f"{report.rss_bytes / MIB:.1f} MiB",
        utc_text(report.at),
    )


def _read(file: Path) -> "BenchReport":
    from edge_agent.base.regular import read_regular
    from edge_agent.wire import codec
    from edge_agent.wire.bench import BENCH_FORMAT, BenchReport
    from edge_agent.wire.errors import WireError
    from hub.errors import RefusedError

    try:
        report = codec.decode(
            read_regular(file, codec.MAX_DOCUMENT_BYTES, follow=True), BenchReport
        )
    except (OSError, WireError) as error:
        raise RefusedError(
            "HUB-BENCH-001",
            f"{file} is no report: {error}",
            cure="edge-agent bench --output FILE writes one",
        ) from error
    if report.format != BENCH_FORMAT:
        raise RefusedError(
            "HUB-BENCH-001",
            f"{file} has format {report.format}, this hub reads {BENCH_FORMAT}",
        )
    return report

"""``hub train``: training jobs."""

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from edge_agent.base.exit_codes import ExitCode
from hub.cli.output import json_option, print_fields, print_json, print_table
from hub.config import Home

if TYPE_CHECKING:
    from hub.storage.jobs import JobRow


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job as ``--json`` shows it; ``release`` is what became of its bundle."""

    id: str
    kind: str
    state: str
    reason: str
    folder: str
    alert: int | None
    exit_code: int | None
    release: int | None
    error: str
    created_at: float
    started_at: float | None
    finished_at: float | None


@click.group()
def train() -> None:
    """Start and show training jobs."""


@train.command("start")
@click.option("--task", default="watch", show_default=True, help="What to learn.")
@click.option("--name", default="", help="The model's name; the task's by default.")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option(
    "--setting",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="A setting of the task; may be repeated.",
)
@click.option("--wait", is_flag=True, help="Wait for the job and take its bundle in.")
@click.option(
    "--rollout/--no-rollout", help="With --wait: roll the release out afterwards."
)
@json_option
@click.pass_obj
def start_command(  # noqa: PLR0913 - one argument an option
    home: Home,
    task: str,
    name: str,
    seed: int,
    settings: tuple[str, ...],
    *,
    wait: bool,
    rollout: bool,
    as_json: bool,
) -> None:
    """Train a model; its bundle becomes a release if the gate lets it pass.

    Without --wait, `hub serve` runs the job.
    """
    if rollout and not wait:
        raise click.UsageError("--rollout needs --wait")
    from hub.service import open_services

    services = open_services(home)
    retrain = services.retrain
    job = retrain.start_job(
        task=task, name=name or task, settings=_settings(settings), seed=seed
    )
    row = retrain.run_job(job) if wait else retrain.get_job(job)
    if wait and rollout and row.release:
        started = services.rollouts.start(row.release)
        click.echo(f"rollout {started}", err=True)
    if as_json:
        print_json(_view(row))
    else:
        released = f", release {row.release}" if row.release else ""
        click.echo(f"{row.id} {row.state}{released}")
    if wait and row.release is None:
        error = row.error or "the job made no release"
        click.echo(error.replace("\n", "\n  "), err=True)
        refused = row.exit_code == ExitCode.REFUSED
        sys.exit(ExitCode.REFUSED if refused else ExitCode.FAILED)


@train.command("list")
@json_option
@click.pass_obj
def list_command(home: Home, *, as_json: bool) -> None:
    """List all jobs, oldest first."""
    from hub.service import open_services

    views = [_view(row) for row in open_services(home).retrain.list_jobs()]
    if as_json:
        print_json(views)
        return
    print_table(
        ("job", "kind", "state", "alert", "release", "error"),
        [
            (
                view.id,
                view.kind,
                view.state,
                view.alert or "-",
                view.release or "-",
                view.error or "-",
            )
            for view in views
        ],
    )


@train.command("get")
@click.argument("job")
@json_option
@click.pass_obj
def get_command(home: Home, job: str, *, as_json: bool) -> None:
    """Show one job."""
    from hub.service import open_services

    view = _view(open_services(home).retrain.get_job(job))
    if as_json:
        print_json(view)
        return
    print_fields(list(msgspec.structs.asdict(view).items()))


def _settings(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for key, equals, text in pairs:
        if not key or not equals:
            raise click.BadParameter(f"{key}{text} is not KEY=VALUE")
    return {key: text for key, _, text in pairs}


def _view(row: "JobRow") -> JobView:
    return JobView(
        id=row.id,
        kind=str(row.kind),
        state=str(row.state),
        reason=row.reason,
        folder=row.folder,
        alert=row.alert,
        exit_code=row.exit_code,
        release=row.release,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )

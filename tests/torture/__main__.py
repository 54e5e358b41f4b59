"""``python -m tests.torture``: several seeds, one table, one verdict."""

import json
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import click

from edge_agent.base.exit_codes import ExitCode
from tests.torture.children import ChildDiedError
from tests.torture.run import Run, StoppedError, Torture
from tests.torture.verdict import MAX_REDELIVERED, Outcome, as_document, table

INTERRUPTED = 130


@click.command()
@click.option("--kills", default=200, show_default=True, help="Kills per seed.")
@click.option("--seeds", default=5, show_default=True, help="How many seeds.")
@click.option("--first-seed", default=1, show_default=True, help="The first of them.")
@click.option("--devices", default=3, show_default=True, help="Devices in a run.")
@click.option("--rate", default=200.0, show_default=True, help="Records/s a device.")
@click.option(
    "--persistence",
    type=click.Choice(["on", "off", "both"]),
    default="both",
    show_default=True,
    help="Whether the broker keeps state on disk; both: half of the kills each.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Report.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Folder to leave everything in."
)
def main(json_file: Path | None, keep: Path | None, **options: Any) -> None:  # noqa: ANN401 - click's values
    """Kill agents, hub and broker at random, and count what arrived."""
    # An exception in the handler would be lost where it hits a fork's own hooks.
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="shoal-torture-") as scratch:
        for run in make_runs(**options):
            name = f"seed-{run.seed}-{'on' if run.persistence else 'off'}"
            outcomes.append(carry_out(run, (keep or Path(scratch)) / name, stop))
    click.echo(table(outcomes))
    document = as_document(outcomes)
    if json_file is not None:
        json_file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    if not document["ok"]:
        click.echo(f"Failed: 0 lost, 0 duplicates, < {MAX_REDELIVERED:.0%} again.")
    sys.exit(ExitCode.OK if document["ok"] else ExitCode.FAILED)


def make_runs(*, kills: int, persistence: str, **options: Any) -> list[Run]:  # noqa: ANN401 - click's values
    """Return the runs; with both kinds of broker a seed's kills are shared out."""
    shares = {
        "off": [(False, kills)],
        "on": [(True, kills)],
        "both": [(False, kills - kills // 2), (True, kills // 2)],
    }[persistence]
    first, count = options["first_seed"], options["seeds"]
    return [
        Run(
            seed=seed,
            kills=n,
            persistence=keeps,
            devices=options["devices"],
            rate=options["rate"],
        )
        for seed in range(first, first + count)
        for keeps, n in shares
        if n
    ]


def carry_out(run: Run, folder: Path, stop: threading.Event) -> Outcome:
    """Carry out one run and say how it goes."""
    kind = "with" if run.persistence else "without"
    text = f"seed {run.seed}: {run.kills} kills, broker {kind} persistence"
    try:
        outcome = Torture(run, folder, stop).carry_out()
    except StoppedError:
        sys.exit(INTERRUPTED)
    except ChildDiedError as error:
        raise click.ClickException(f"{text}: {error}") from error
    counts = outcome.counts
    click.echo(
        f"{text}: {outcome.run_s} s (drained in {outcome.drain_s} s),"
        f" {counts.committed} committed ({counts.stored_amid_kills} stored"
        f" amid the kills), {counts.lost} lost,"
        f" {counts.duplicates} duplicates, {counts.redelivered} again",
        err=True,
    )
    return outcome


if __name__ == "__main__":
    main()

"""``python -m tests.powercut --cuts 10000``: many power cuts, one table, a verdict."""

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from edge_agent.base.exit_codes import ExitCode
from hub.storage.db import open_database
from tests.powercut.run import Counts, build_recorder, cut_everywhere, record

CUTS_A_SEED = 200
STEPS = 120


def cut_seeds(folder: Path, first_seed: int, cuts: int) -> dict[int, Counts]:
    """Cut as often as told, ``CUTS_A_SEED`` times a recording; figures by seed."""
    library = build_recorder(folder)
    counts: dict[int, Counts] = {}
    seed = first_seed
    while cuts > 0:
        place = folder / f"seed-{seed}"
        engine = open_database(f"sqlite:///{folder / f'hub-{seed}.db'}")
        counts[seed] = cut_everywhere(
            record(library, place, seed, STEPS),
            place,
            engine,
            seed=seed,
            cuts=min(cuts, CUTS_A_SEED),
        )
        engine.dispose()
        cuts -= CUTS_A_SEED
        seed += 1
    return counts


def row_of(name: object, counts: list[Counts]) -> str:
    """Return one line of the table."""
    cells = [
        name,
        sum(c.cuts for c in counts),
        f"{sum(c.committed for c in counts):,}",
        sum(c.alerts_lost for c in counts),
        sum(c.metrics_lost for c in counts),
        f"{max(c.most_lost_s for c in counts):.2f} s",
        sum(c.set_aside for c in counts),
        sum(c.slots_undone for c in counts),
        sum(c.mixed_up + c.doubled for c in counts),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


@click.command()
@click.option("--cuts", default=2000, show_default=True, help="How many in all.")
@click.option("--first-seed", default=1, show_default=True, help="The first seed.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Report.")
def main(cuts: int, first_seed: int, json_file: Path | None) -> None:
    """Cut the power of a recorded device, and count what is left."""
    with tempfile.TemporaryDirectory(prefix="shoal-powercut-") as scratch:
        counts = cut_seeds(Path(scratch), first_seed, cuts)
    click.echo(
        "| seed | cuts | committed | alerts lost | metrics lost | oldest lost"
        " | set aside | slots undone | mixed up |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|")
    for seed, found in counts.items():
        click.echo(row_of(seed, [found]))
    click.echo(row_of("all", list(counts.values())))
    if json_file is not None:
        document = {seed: asdict(found) for seed, found in counts.items()}
        json_file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    for found in counts.values():
        for failure in found.failures:
            click.echo(failure, err=True)
    ok = all(found.ok for found in counts.values())
    sys.exit(ExitCode.OK if ok else ExitCode.FAILED)


if __name__ == "__main__":
    main()

"""``python -m tests.soak --requests 1000000``: a worker's memory, and a verdict."""

import json
import sys
import tempfile
import time
from pathlib import Path

import click

from edge_agent.base.exit_codes import ExitCode
from tests.soak.run import FIFTH, MARKS, soak


@click.command()
@click.option("--requests", default=1_000_000, show_default=True, help="How many.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Report.")
def main(requests: int, json_file: Path | None) -> None:
    """Send requests to one worker; its memory must not grow after the first fifth."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shoal-soak-") as scratch:
        outcome = soak(Path(scratch), requests)
    took_s = time.monotonic() - started
    click.echo(f"{outcome.framed:,} framed, {outcome.http:,} HTTP, {took_s:.0f} s")
    for place in range(0, MARKS, FIFTH):
        part = outcome.rss_kib[place : place + FIFTH]
        click.echo(f"fifth {place // FIFTH + 1}: {min(part):,} to {max(part):,} KiB")
    click.echo(f"grown after the warm-up: {outcome.grown_kib} KiB")
    if json_file is not None:
        document = {
            "framed": outcome.framed,
            "http": outcome.http,
            "run_s": took_s,
            "rss_kib": outcome.rss_kib,
            "grown_kib": outcome.grown_kib,
        }
        json_file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    sys.exit(ExitCode.FAILED if outcome.leaks else ExitCode.OK)


if __name__ == "__main__":
    main()

"""``python -m tests.mutants --models 10000``: mutated models, one table, a verdict."""

import json
import sys
import tempfile
import time
from pathlib import Path

import click

from edge_agent.base.exit_codes import ExitCode
from tests.fakes.model_base import read_base
from tests.mutants.report import Outcome, as_document, table
from tests.mutants.run import Plan, try_on_agent, try_on_devices

DATA = Path(__file__).parents[1] / "data"
BASES = (
    "tiny",
    "tiny-int8",
    "tiny-plain",
    "demo/first.int8",
    "demo/first.float32",
)
A_SEED = 1000
AGENT_SHARE = 25
"""One mutant in so many is also given to a whole agent."""


@click.command()
@click.option("--models", default=2000, show_default=True, help="How many mutants.")
@click.option("--first-seed", default=1, show_default=True, help="The first seed.")
@click.option(
    "--model",
    "more",
    multiple=True,
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Another file to mutate, of the demo's form.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Report.")
def main(
    models: int, first_seed: int, more: tuple[Path, ...], json_file: Path | None
) -> None:
    """Mutate model files, and count what they can do to a device."""
    paths = [*(DATA / f"{name}.tflite" for name in BASES), *more]
    bases = [read_base(path) for path in paths]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="shoal-mutants-") as scratch:
        for number, start in enumerate(range(0, models, A_SEED)):
            count = min(A_SEED, models - start)
            plan = Plan(
                seed=first_seed + number,
                mutants=count,
                agents=max(4, count // AGENT_SHARE),
            )
            place = Path(scratch) / f"seed-{plan.seed}"
            started = time.monotonic()
            findings = try_on_devices(plan, bases, place)
            agent = try_on_agent(plan, bases[0], findings, place)
            outcome = Outcome(
                seed=plan.seed,
                run_s=time.monotonic() - started,
                findings=findings,
                agent=agent,
            )
            outcomes.append(outcome)
            click.echo(f"seed {plan.seed}: {outcome.run_s:.0f} s, {agent.outcomes}")
    click.echo(table(outcomes))
    document = as_document(outcomes)
    for outcome in outcomes:
        for text in outcome.problems:
            click.echo(text, err=True)
    click.echo(json.dumps({o.seed: o.promises for o in outcomes}))
    if json_file is not None:
        json_file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    sys.exit(ExitCode.OK if document["ok"] else ExitCode.FAILED)


if __name__ == "__main__":
    main()

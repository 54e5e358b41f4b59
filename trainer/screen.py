"""What ``trainer`` shows: progress while it works, results when it is done."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import msgspec

from edge_agent.base.terminal import one_line, raw_stream
from edge_agent.wire.job import Progress
from edge_agent.wire.manifest import Bundle
from trainer.errors import GateRefusedError
from trainer.finetune import tell_patch
from trainer.gate.verdict import Score
from trainer.progress import Listener


@contextlib.contextmanager
def progress_shown() -> Iterator[Listener]:
    """Show progress on standard error: a bar on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _print_line
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Bar(
        *columns, console=Console(file=raw_stream(sys.stderr)), transient=True
    ) as bar:
        shown = bar.add_task("job", total=1.0, text="")

        def listener(progress: Progress) -> None:
            bar.update(shown, completed=progress.done, description=progress.stage)
            if progress.text:
                bar.update(shown, text=one_line(progress.text))

        yield listener


def print_result(bundle: Bundle, out: Path, seconds: float, *, as_json: bool) -> None:
    """Print what a job made."""
    if as_json:
        facts = {
            "bundle": str(out),
            "variant": bundle.variant,
            "accuracy": bundle.accuracy,
            "gate": msgspec.to_builtins(bundle.gate),
            "metrics": bundle.metrics,
            "seconds": round(seconds, 2),
        }
        click.echo(msgspec.json.format(msgspec.json.encode(facts), indent=2))
        return
    accuracy = f"accuracy {bundle.accuracy:.3f}, " if bundle.accuracy else ""
    click.echo(
        f"{out}: {bundle.name}, {bundle.variant}, {bundle.model.bytes} bytes, "
        f"{accuracy}{seconds:.1f} s"
    )
    if line := tell_patch(bundle.gate.incumbent, bundle.metrics):
        click.echo(f"  {line}")
    for check in bundle.gate.checks:
        mark = "ok  " if check.ok else "FAIL"
        click.echo(
            f"  {mark} {check.name} {check.observed:g} (limit {check.limit:g}"
            f"{f', n {check.n}' if check.n else ''}) {check.detail}"
        )


def print_scores(scores: Mapping[str, Score], *, as_json: bool) -> None:
    """Print scores by person and arm."""
    if as_json:
        facts = {
            name: {"n": s.n, "correct": s.correct, "accuracy": round(s.accuracy, 4)}
            for name, s in scores.items()
        }
        click.echo(msgspec.json.format(msgspec.json.encode(facts), indent=2))
        return
    for name, score in scores.items():
        click.echo(f"{name:<12} {score.accuracy:.3f}  ({score.correct} of {score.n})")


def require_passed(bundle: Bundle) -> None:
    """Raise if the gate refused the bundle.

    Raises:
        GateRefusedError: With the checks that do not hold (``TRAINER-GATE-001``).
    """
    if bundle.gate.ok:
        return
    failed = ", ".join(
        f"{check.name} {check.observed:g} (limit {check.limit:g})"
        for check in bundle.gate.checks
        if not check.ok
    )
    raise GateRefusedError(
        "TRAINER-GATE-001",
        f"the gate refused the candidate: {failed}",
        cure="the bundle is complete; a hub takes it in only with a stated reason",
    )


def _print_line(progress: Progress) -> None:
    if progress.text:
        click.echo(f"{progress.done:4.0%} {progress.stage}: {progress.text}", err=True)

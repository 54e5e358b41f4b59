"""``edge-agent infer``: a sample to the running agent, or a file through a model."""

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from edge_agent.base.terminal import raw_stream
from edge_agent.cli_output import (
    CONFIG_OPTION,
    JSON_OPTION,
    print_document,
    socket_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """What is given, and where the answers go."""

    model: Path
    labels: Path | None
    given: Path
    output: Path | None


@click.command()
@CONFIG_OPTION
@click.option("--socket", type=click.Path(path_type=Path), help="The agent's socket.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="A .tflite file or bundle folder to run alone, without an agent.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Names of the model file's classes, one a line.",
)
@click.option(
    "--input",
    "given",
    type=click.Path(path_type=Path),
    required=True,
    help="Samples: .npz, .csv (one row a line) or an image.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a table: .csv, .npz or .parquet. Needs --model.",
)
@JSON_OPTION
def infer(  # noqa: PLR0913 - click gives each option as an argument
    *,
    config_path: Path,
    socket: Path | None,
    model: Path | None,
    labels: Path | None,
    given: Path,
    output: Path | None,
    as_json: bool,
) -> None:
    """Infer one sample with the running agent, or a whole file with a model alone."""
    if model is not None:
        files = _Files(model=model, labels=labels, given=given, output=output)
        _infer_alone(files, as_json=as_json)
        return
    if output is not None or labels is not None:
        raise click.UsageError("--output and --labels need --model")
    from edge_agent.one_shot import infer_with_agent

    answer = infer_with_agent(socket or socket_of(config_path), given)
    print_document(answer, answer.lines(), as_json=as_json)


def _infer_alone(files: _Files, *, as_json: bool) -> None:
    from edge_agent.base.clock import SystemClock
    from edge_agent.batch.meter import Meter
    from edge_agent.batch.run import infer_table, open_engine
    from edge_agent.one_shot import infer_with_file

    engine = open_engine(files.model, files.labels)
    try:
        if files.output is None:
            answers = infer_with_file(engine, files.given)
            print_document(answers, answers.lines(), as_json=as_json)
            return
        clock = SystemClock()
        meter = Meter(raw_stream(sys.stderr), clock)
        account = infer_table(engine, files.given, files.output, meter, clock)
    finally:
        engine.close()
    print_document(account, account.lines(), as_json=as_json)
    sys.exit(account.exit_code)

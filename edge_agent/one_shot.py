"""``edge-agent infer``: one sample to the running agent, or samples to a model file."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.base.exit_codes import ExitCode
from edge_agent.batch.run import answers
from edge_agent.batch.table import Row
from edge_agent.engine import Engine
from edge_agent.errors import AgentError
from edge_agent.serve.client import Client

TIMEOUT_S = 10.0
SHOWN = 8
"""So many numbers of an output are shown as text; ``--json`` tells all."""


class InputFileError(AgentError):
    """A file that holds no sample (AGENT-CLI-002)."""

    exit_code = ExitCode.USAGE


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One predicted sample; ``rejected`` is the reason where it was not inferred."""

    sample_id: str
    label: str = ""
    confidence: float = 0.0
    probabilities: list[float] = []
    outputs: dict[str, list[float]] = {}
    served_by: str = ""
    release: int = 0
    latency_us: float = 0.0
    rejected: str = ""


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What was inferred."""

    answers: list[Answer]

    def lines(self) -> list[str]:
        """Return one line of text an answer."""
        return [_line(answer) for answer in self.answers]


def infer_with_agent(socket: Path, input_path: Path) -> Answers:
    """Infer the first array of a file with the running agent, or one for each input.

    Raises:
        WorkerError: The agent does not answer.
        SampleRejectedError: The sample fails a quality check.
    """
    arrays = read_arrays(input_path)
    first, sample = next(iter(arrays.items()))
    with Client(socket, TIMEOUT_S) as client:
        inputs = client.status().inputs
        if len(inputs) > 1:
            made = client.infer(input_path.stem[:128], arrays)
        else:
            made = client.infer(first[:128], sample.astype(np.float32))
    answer = Answer(
        sample_id=made.sample_id,
        label=made.label,
        confidence=made.confidence,
        probabilities=made.probabilities,
        outputs={name: one.values for name, one in made.outputs.items()},
        served_by=made.served_by,
        release=made.release,
        latency_us=made.latency_us,
    )
    return Answers(answers=[answer])


def infer_with_file(engine: Engine, given: Path) -> Answers:
    """Infer every sample of a file with a model alone.

    Raises:
        AgentError: The file cannot be read, or the model failed.
    """
    return Answers(
        answers=[
            Answer(
                sample_id=row.sample_id,
                label=row.label,
                confidence=row.confidence,
                probabilities=_numbers(row) if row.label else [],
                outputs={} if row.label else _outputs(engine, row),
                latency_us=row.latency_us,
                rejected=row.rejected,
            )
            for row in answers(engine, given)
        ]
    )


def _numbers(row: Row) -> list[float]:
    return [] if row.numbers is None else row.numbers.tolist()


def _outputs(engine: Engine, row: Row) -> dict[str, list[float]]:
    if row.numbers is None:
        return {}
    widths = [math.prod(output.shape) for output in engine.answers]
    parts = np.split(row.numbers, np.cumsum(widths)[:-1])
    return {
        output.name: part.tolist()
        for output, part in zip(engine.answers, parts, strict=True)
    }


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an npz file, or the rows of a csv file as one array.

    Raises:
        InputFileError: There is none.
    """
    try:
        if path.suffix == ".csv":
            return {path.stem: np.loadtxt(path, np.float32, delimiter=",", ndmin=2)}
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise _no_sample(path, str(error)) from error
    if not arrays or any(array.dtype.kind not in "fiub" for array in arrays.values()):
        raise _no_sample(path, "there are no arrays of numbers in it")
    return arrays


def _no_sample(path: Path, why: str) -> InputFileError:
    return InputFileError(
        "AGENT-CLI-002",
        f"{path} holds no sample: {why}",
        cure="give an .npz with an array for each input, or a .csv of numbers, one row"
        " a line",
    )


def _line(answer: Answer) -> str:
    if answer.rejected:
        return f"{answer.sample_id}: rejected, {answer.rejected}"
    who = f", {answer.served_by}" if answer.served_by else ""
    release = f", release {answer.release}" if answer.release else ""
    how = f"{who}{release}, {answer.latency_us:.0f} us"
    if answer.label:
        return f"{answer.sample_id}: {answer.label} ({answer.confidence:.1%}{how})"
    told = ", ".join(map(_output_text, answer.outputs, answer.outputs.values()))
    return f"{answer.sample_id}: {told} ({how.removeprefix(', ')})"


def _output_text(name: str, values: list[float]) -> str:
    shown = " ".join(f"{value:.4g}" for value in values[:SHOWN])
    more = " …" if len(values) > SHOWN else ""
    return f"{name} {shown}{more}"

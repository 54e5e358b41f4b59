"""``edge-agent infer``: one sample to the running agent, or samples to a model file."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.base.exit_codes import ExitCode
from edge_agent.batch.run import answers
from edge_agent.engine import Engine
from edge_agent.errors import AgentError
from edge_agent.serve.client import Client
from edge_agent.serve.protocol import Prediction

TIMEOUT_S = 10.0


class InputFileError(AgentError):
    """A file that holds no sample (AGENT-CLI-002)."""

    exit_code = ExitCode.USAGE


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One predicted sample; ``rejected`` is the reason where it was not inferred."""

    sample_id: str
    label: str = ""
    confidence: float = 0.0
    probabilities: list[float] = []
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
    """Infer the first array of a file with the running agent.

    Raises:
        WorkerError: The agent does not answer.
        SampleRejectedError: The sample fails a quality check.
    """
    name, sample = read_sample(input_path)
    with Client(socket, TIMEOUT_S) as client:
        made: Prediction = client.infer(name, sample)
    answer = Answer(
        sample_id=made.sample_id,
        label=made.label,
        confidence=made.confidence,
        probabilities=made.probabilities,
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
                probabilities=[] if row.numbers is None else row.numbers.tolist(),
                latency_us=row.latency_us,
                rejected=row.rejected,
            )
            for row in answers(engine, given)
        ]
    )


def read_sample(path: Path) -> tuple[str, NDArray[np.float32]]:
    """Read the first array of an npz file, or the rows of a csv file.

    Raises:
        InputFileError: There is none.
    """
    try:
        if path.suffix == ".csv":
            rows = np.loadtxt(path, np.float32, delimiter=",", ndmin=2)
            return path.stem[:128], rows
        with np.load(path, allow_pickle=False) as arrays:
            name = arrays.files[0]
            return name[:128], np.asarray(arrays[name], np.float32)
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise InputFileError(
            "AGENT-CLI-002",
            f"{path} holds no sample: {error}",
            cure="give an .npz with one array, or a .csv of numbers, one row a line",
        ) from error


def _line(answer: Answer) -> str:
    if answer.rejected:
        return f"{answer.sample_id}: rejected, {answer.rejected}"
    who = f", {answer.served_by}" if answer.served_by else ""
    release = f", release {answer.release}" if answer.release else ""
    return (
        f"{answer.sample_id}: {answer.label} ({answer.confidence:.1%}"
        f"{who}{release}, {answer.latency_us:.0f} us)"
    )

"""Every sample of a file through a model, without an agent: the loop, and its account.

The file is read, inferred and written piece by piece, so it may be larger than memory.
Samples that fail a quality check get a row with the reason and stop nothing.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.base.clock import Clock
from edge_agent.base.exit_codes import ExitCode
from edge_agent.base.regular import read_regular
from edge_agent.batch.meter import Meter
from edge_agent.batch.table import Row, writing
from edge_agent.class_names import read_class_names, refuse_names_of_bundle
from edge_agent.engine import Engine, Prediction
from edge_agent.errors import AgentError, SampleRejectedError
from edge_agent.pipeline.prediction import Given
from edge_agent.runtime.port import Floats
from edge_agent.serve.files.reading import FileSample, read_samples
from edge_agent.serve.joined import join_inputs, split_row
from edge_agent.wire.manifest import MAX_ARTIFACT_BYTES

PIECE_ROWS = 1024


class InputError(AgentError):
    """A file of samples that cannot be read (``AGENT-BATCH-004``)."""

    exit_code = ExitCode.USAGE


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file of samples."""

    output: str
    samples: int
    answered: int
    rejected: dict[str, int]
    """Samples that were not inferred, by reason."""
    took_s: float

    @property
    def exit_code(self) -> ExitCode:
        """0, or 7 where the checks let no sample through."""
        return ExitCode.OK if self.answered or not self.samples else ExitCode.REFUSED

    def lines(self) -> list[str]:
        """Return the account as text."""
        refused = "".join(f", {n} rejected ({why})" for why, n in self.rejected.items())
        counts = f"{self.answered} answered{refused}"
        return [
            f"{self.samples} samples in {self.took_s:.1f} s: {counts}; {self.output}"
        ]


def open_engine(model: Path, labels: Path | None) -> Engine:
    """Load a bundle folder, or a model file with the names of its classes.

    Raises:
        ClassNamesError: The names cannot be used, or a bundle brings its own.
        ModelError: The model cannot be read or loaded.
    """
    if labels is None:
        return Engine.open(model, monitor=False)
    refuse_names_of_bundle(model, labels)
    names = read_class_names(labels)
    try:
        return Engine(
            read_regular(model, MAX_ARTIFACT_BYTES, follow=True), labels=names
        )
    except OSError as error:
        raise InputError("AGENT-BATCH-005", f"{model}: {error}") from error


def infer_table(
    engine: Engine, given: Path, output: Path, meter: Meter, clock: Clock
) -> Account:
    """Infer every sample of ``given`` and write one row for each.

    Args:
        engine: The model.
        given: ``.csv``, ``.npz`` or an image.
        output: ``.csv``, ``.npz`` or ``.parquet``; there only when it is whole.
        meter: Shows how far it is.
        clock: Tells how long it took.

    Raises:
        InputError: ``given`` cannot be read; nothing is written.
        OutputError: The table cannot be written.
        AgentError: The model failed, or a library is missing.
    """
    started = clock.mono()
    rejected: Counter[str] = Counter()
    samples = 0
    with writing(output, names_of(engine)) as table:
        try:
            for piece in _pieces(answers(engine, given, meter)):
                rejected.update(row.rejected for row in piece if row.rejected)
                samples += len(piece)
                table.add(piece)
                meter.made(samples)
        finally:
            meter.finish()
    return Account(
        output=str(output),
        samples=samples,
        answered=samples - rejected.total(),
        rejected=dict(rejected),
        took_s=clock.mono() - started,
    )


def answers(engine: Engine, given: Path, meter: Meter | None = None) -> Iterator[Row]:
    """Yield the answer of every sample of a file, in order.

    Raises:
        InputError: The file cannot be read.
        AgentError: The model failed, or a library is missing.
    """
    on_read = (lambda _done, _total: None) if meter is None else meter.read
    try:
        contract = join_inputs(engine.contracts)
        for sample in read_samples(given, contract, on_read=on_read):
            values = split_row(sample.values, contract)
            yield _answer(engine, _id_of(given, sample), values)
    except OSError as error:
        raise InputError("AGENT-BATCH-004", f"{given}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(
            "AGENT-BATCH-004",
            f"{given}: {error}",
            cure="give a .csv of numbers, an .npz of arrays, or an image",
        ) from error


def names_of(engine: Engine) -> list[str]:
    """Return what the numbers of an answer are called in a table.

    Of a model without classes they are the numbers of all its outputs, flat.
    """
    if engine.labels:
        return [f"p.{label}" for label in engine.labels]
    return [
        f"{output.name}.{place}"
        for output in engine.answers
        for place in range(math.prod(output.shape))
    ]


def _answer(engine: Engine, sample_id: str, sample: Given) -> Row:
    try:
        made = engine.predict(sample)
    except SampleRejectedError as error:
        return Row(sample_id=sample_id, rejected=error.reason)
    return Row(
        sample_id=sample_id,
        label=made.label,
        confidence=made.confidence,
        latency_us=made.latency_us,
        numbers=_numbers(engine, made),
    )


def _numbers(engine: Engine, made: Prediction) -> Floats:
    if engine.labels:
        return made.probabilities
    flat = [made.outputs[output.name].ravel() for output in engine.answers]
    return np.concatenate(flat).astype(np.float32)


def _id_of(given: Path, sample: FileSample) -> str:
    return f"{sample.name or given.stem}@{sample.at[1]}"


def _pieces(rows: Iterator[Row]) -> Iterator[list[Row]]:
    piece: list[Row] = []
    for row in rows:
        piece.append(row)
        if len(piece) == PIECE_ROWS:
            yield piece
            piece = []
    if piece:
        yield piece

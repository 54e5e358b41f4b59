"""The paired test: two releases answer this device's own samples, in one process.

``python -m edge_agent.paired_test STATE_DIR INCUMBENT CANDIDATE RING_FD SECONDS``
verifies both releases' files, loads both models in fresh interpreters, asks both for
every sample of the ring, and prints one line of JSON
(:class:`~edge_agent.update.paired_trial.PairedReport`). Both are asked one after the
other for each sample, first the one and then the other first, so that whatever else the
machine does meets both alike. Samples are taken in a fixed random order, so that few of
them are as good a choice as all. Releases that keep state start each stretch of samples
afresh.

Invariants: a release's failure on a sample is that release's and ends nothing; before
each call the process writes whose turn it is and sets its own deadline, so that a model
that hangs ends this process and the parent knows which it was; as soon as it is back,
the turn is nobody's, so that what the test itself does wrong is held against no
release. It runs in the
background class and within the budgets of both releases. Only
:mod:`~edge_agent.update.paired_trial` starts it.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np

from edge_agent.engine import Engine
from edge_agent.errors import AgentError, SampleRejectedError
from edge_agent.evidence.answers import answer_of, is_detector
from edge_agent.evidence.judge import expected_entropy
from edge_agent.evidence.ring import KeptSample, Ring, contract_digest
from edge_agent.evidence.statistics import Answer, Pair, measure
from edge_agent.pipeline.validate import QUALITY, Validator
from edge_agent.runtime.litert import runtime_name
from edge_agent.runtime.port import Array
from edge_agent.runtime.state import keeps_state
from edge_agent.store.artifacts import ArtifactStore, LoadedRelease
from edge_agent.update.paired_trial import (
    CALL_S,
    CANDIDATE,
    INCUMBENT,
    NOBODY,
    PairedReport,
    cpu_limit_s,
)
from edge_agent.update.sandbox import limit_models, limit_process, step_back
from edge_agent.wire.manifest import Bundle

LOAD_S = 20.0
"""Processor time of loading one model."""
IDLE_FACTOR = 4.0
"""A call that uses no processor time is given up after so much longer."""
STDOUT = 1
SEED = 10


def give_turn(who: bytes, cpu_s: float) -> None:
    """Write whose turn it is, and end this process if it does not come back."""
    os.write(STDOUT, who)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, cpu_s * IDLE_FACTOR)


def end_turn() -> None:
    """Take the deadlines back, and write that what comes now is the test's own."""
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.write(STDOUT, NOBODY)


class Side:
    """One of the two releases."""

    def __init__(self, who: bytes, loaded: LoadedRelease) -> None:
        """Take its verified files; :meth:`open` loads the model."""
        self.bundle = loaded.release.bundle
        self.stateful = keeps_state(loaded.model)
        self.entropy = expected_entropy(loaded.reference)
        self._who = who
        self._model = loaded.model
        self._names = [one.name for one in self.bundle.outputs]
        self._engine: Engine | None = None

    def open(self) -> None:
        """Load the model, in place of the one that was loaded.

        Raises:
            AgentError: It does not load.
        """
        give_turn(self._who, LOAD_S)
        try:
            if self._engine is not None:
                self._engine.close()
            self._engine = Engine.of_bundle(self._model, self.bundle)
        finally:
            end_turn()

    def ask(self, arrays: dict[str, Array]) -> Answer | SampleRejectedError | None:
        """Return the answer to a sample; ``None``: it failed on it.

        An error is returned where it does not take the sample for its quality.
        """
        engine = self._engine
        if engine is None:
            return None
        single = next(iter(arrays.values())) if len(arrays) == 1 else arrays
        give_turn(self._who, CALL_S)
        try:
            made = engine.predict(single)
        except SampleRejectedError as error:
            return error if error.reason in QUALITY else None
        except Exception:  # noqa: BLE001 - whatever it is, it is the release's
            return None
        finally:
            end_turn()
        told = (made.index, made.confidence)
        return answer_of(told, made.outputs, self._names, made.latency_us)


class Trial:
    """Both releases over the samples of a ring."""

    def __init__(self, incumbent: Side, candidate: Side, until: float) -> None:
        """Ask until the steady time ``until``, in seconds of ``perf_counter``."""
        self._incumbent = incumbent
        self._candidate = candidate
        self._until = until
        self._stateful = incumbent.stateful or candidate.stateful
        self.late = False

    def run(self, samples: Sequence[KeptSample]) -> list[Pair]:
        """Return the pairs of all samples that there was time for, oldest first.

        Raises:
            AgentError: The candidate does not load afresh.
        """
        self._warm_up(samples[0])
        pairs: dict[int, Pair] = {}
        for stretch in in_stretches(samples):
            if self._stateful:
                self._incumbent.open()
                self._candidate.open()
            for place in stretch:
                if time.perf_counter() > self._until:
                    self.late = True
                    break
                swapped = len(pairs) % 2 == 1
                pairs[place] = self._pair(samples[place], swapped=swapped)
        return [pairs[place] for place in sorted(pairs)]

    def _warm_up(self, sample: KeptSample) -> None:
        for side in (self._incumbent, self._candidate):
            side.ask(sample.arrays)

    def _pair(self, sample: KeptSample, *, swapped: bool) -> Pair:
        if swapped:
            second = self._candidate.ask(sample.arrays)
            first = self._incumbent.ask(sample.arrays)
        else:
            first = self._incumbent.ask(sample.arrays)
            second = self._candidate.ask(sample.arrays)
        return Pair(
            number=sample.number,
            stream=sample.stream,
            incumbent=_answered(first),
            candidate=_answered(second),
            refused=isinstance(first, Exception) or isinstance(second, Exception),
        )


def _answered(asked: Answer | SampleRejectedError | None) -> Answer | None:
    return asked if isinstance(asked, Answer) else None


def in_stretches(samples: Sequence[KeptSample]) -> Iterator[list[int]]:
    """Return the places of samples by stretch, in a random order, always the same.

    Within a stretch they stay in their order; a single sample is one of its own.
    """
    singles = [[place] for place, one in enumerate(samples) if not one.stretch]
    joined = sorted(
        (place for place, one in enumerate(samples) if one.stretch),
        key=lambda place: (samples[place].stretch, samples[place].number),
    )
    runs = [list(run) for _, run in groupby(joined, lambda p: samples[p].stretch)]
    groups = singles + runs
    for place in np.random.default_rng(SEED).permutation(len(groups)):
        yield groups[place]


def find_problem(ring: Ring, count: int, old: Bundle, new: Bundle) -> str:
    """Return why two releases cannot be compared on a ring's samples, or ""."""
    wanted = contract_digest(old.inputs)
    if contract_digest(new.inputs) != wanted:
        misfits = [dict(one.arrays) for one in ring.misfits()]
        fitting = sum(fits(new, one) for one in misfits)
        return (
            f"takes other inputs; of {len(misfits)} samples kept that did not fit the"
            f" active release it would take {fitting}"
        )
    if not count:
        torn = f", {ring.torn} damaged" if ring.torn else ""
        return f"no samples kept yet{torn}"
    if ring.contract != wanted:
        return "the samples kept are of another input than the active release takes"
    if new.kind is not old.kind and (not new.labels or not old.labels):
        return f"answers in another kind: {new.kind}, not {old.kind}"
    if is_detector(new.outputs) != is_detector(old.outputs):
        return "answers in another kind: one of the two is a detector"
    return ""


def fits(bundle: Bundle, arrays: dict[str, Array]) -> bool:
    """Tell whether a sample is one that a release takes."""
    if set(arrays) == {""} and len(bundle.inputs) == 1:
        arrays = {bundle.input.tensor.name: arrays[""]}
    if set(arrays) != {one.tensor.name for one in bundle.inputs}:
        return False
    try:
        for one in bundle.inputs:
            Validator(one).check(arrays[one.tensor.name])
    except AgentError:
        return False
    return True


def compare(folder: Path, numbers: tuple[int, int], fd: int, until: float) -> bytes:
    """Compare incumbent and candidate; return the report as JSON.

    An exception of the test's own says nothing of the candidate.
    """
    started = time.perf_counter()
    try:
        report = _compare(folder, numbers, fd, until)
    except Exception as error:  # noqa: BLE001 - MemoryError too
        report = PairedReport(problem=f"the test failed: {error!r}"[:500])
    took = time.perf_counter() - started
    return msgspec.json.encode(msgspec.structs.replace(report, took_s=took))


def _compare(
    folder: Path, numbers: tuple[int, int], fd: int, until: float
) -> PairedReport:
    store = ArtifactStore(folder)
    try:
        ring = Ring.attach(fd)
        samples = ring.samples()
        incumbent = Side(INCUMBENT, store.load_release(numbers[0]))
    except AgentError as error:
        return PairedReport(problem=f"{error.code}: {error.text}")
    try:
        candidate = Side(CANDIDATE, store.load_release(numbers[1]))
    except AgentError as error:
        return PairedReport(unusable=f"{error.code}: {error.text}")
    sides = (incumbent.bundle, candidate.bundle)
    problem = find_problem(ring, len(samples), *sides)
    if problem:
        return PairedReport(problem=problem, kept=len(samples))
    runtime_name()  # Loads it.
    room = 2 * os.fstat(fd).st_size
    limit_models(sum(one.budget.rss_bytes for one in sides) + room)
    try:
        incumbent.open()
    except AgentError as error:
        return PairedReport(problem=f"the active release does not load: {error.text}")
    trial = Trial(incumbent, candidate, until)
    try:
        candidate.open()
        pairs = trial.run(samples)
    except AgentError as error:
        return PairedReport(unusable=f"{error.code}: {error.text}")
    figures = measure(pairs, expected_entropy=incumbent.entropy)
    return PairedReport(figures=figures, kept=len(samples), late=trial.late)


def main(argv: list[str]) -> int:
    """Compare two releases; print the report; return the exit code."""
    folder, fd, seconds = Path(argv[0]), int(argv[3]), float(argv[4])
    until = time.perf_counter() + seconds
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    limit_process(cpu_limit_s(seconds))
    step_back()
    report = compare(folder, (int(argv[1]), int(argv[2])), fd, until)
    sys.stdout.buffer.write(b"\n" + report + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

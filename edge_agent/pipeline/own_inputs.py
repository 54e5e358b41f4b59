"""The device's own inputs on the sample path: which are offered to the ring, and when.

Offered is every sample that the active release was asked and took: what it answered,
and what it failed on, since a release is only judged fairly on the samples that the
other one finds hard too. What it did not take (another shape or number format) is kept
apart. Without a ring all of this does nothing.
"""

from collections.abc import Mapping

from edge_agent.errors import SampleRejectedError
from edge_agent.evidence.recorder import Due, Recorder
from edge_agent.pipeline.infer import Loaded
from edge_agent.pipeline.prediction import Given, Prediction
from edge_agent.pipeline.validate import DTYPE, INPUTS, SHAPE, Validator
from edge_agent.runtime.port import Array

MISFITS = frozenset({SHAPE, DTYPE, INPUTS})
"""Reasons of samples that another release may take."""


class OwnInputs:
    """Offers inputs to a recorder, where there is one."""

    def __init__(self, recorder: Recorder | None) -> None:
        """Offer to this recorder."""
        self._recorder = recorder

    def follow(self, active: Loaded | None) -> None:
        """Keep inputs of this release from now on; the factory model has no rivals."""
        if self._recorder is None:
            return
        if active is None or active.is_factory:
            self._recorder.follow((), stateful=False)
        else:
            self._recorder.follow(active.inputs, stateful=active.stateful)

    def count(self, stream: str, now: float) -> Due | None:
        """Count a sample at a monotonic time; the sample path's lock is held."""
        recorder = self._recorder
        return None if recorder is None else recorder.count(stream, now)

    def keep(self, due: Due | None, made: Prediction) -> None:
        """Keep an answered sample that is due, without any lock."""
        if due is not None and self._recorder is not None:
            self._recorder.keep(due, made.inputs, made.extra)

    def keep_failed(self, due: Due | None, active: Loaded, given: Given) -> None:
        """Keep a sample that the release took and failed on."""
        if due is None or self._recorder is None:
            return
        try:
            first, *others = _validated(active, given).items()
        except SampleRejectedError:
            return  # It was not the release that failed.
        self._recorder.keep(due, first[1], dict(others))

    def refuse(self, active: Loaded | None, given: Given, reason: str) -> None:
        """Keep apart what the release does not take."""
        recorder = self._recorder
        if recorder is not None and active is not None and reason in MISFITS:
            recorder.refuse(given, reason)


def _validated(active: Loaded, given: Given) -> dict[str, Array]:
    """Return the arrays of all inputs, in order.

    Raises:
        SampleRejectedError: One of them does not fit.
    """
    names = [one.tensor.name for one in active.inputs]
    if not isinstance(given, Mapping):
        given = {names[0]: given}
    if set(given) != set(names):
        raise SampleRejectedError(INPUTS, f"inputs {[*given]}, the model takes {names}")
    return {
        one.tensor.name: Validator(one).check(given[one.tensor.name])
        for one in active.inputs
    }

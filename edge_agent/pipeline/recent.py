"""The latest predictions, by number and by sample id, their inputs, and other answers.

Bounded twice: predictions, with what a second release answered, by count, inputs by
bytes. Inputs are kept only where a
consent to upload samples exists; nothing else needs them. Not thread-safe: the sample
path's lock guards it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

import msgspec
import numpy as np

from edge_agent.pipeline.prediction import ServedBy
from edge_agent.runtime.port import Array, Floats

MAX_PREDICTIONS = 8192
MAX_INPUT_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answered sample. ``number`` rises by one over all of a worker's life."""

    number: int
    sample_id: str
    at: float
    release: int
    label: str
    labels: tuple[str, ...]
    confidence: float
    probabilities: Floats
    served_by: ServedBy
    latency_us: float
    outputs: Mapping[str, Array] = field(default_factory=dict)
    """The answer of a model that tells no classes; not kept."""


class OtherAnswer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a second release answered to the sample of an entry; ``labels`` are its."""

    release: int
    predicted: str
    labels: tuple[str, ...]


class Recent:
    """The ring of the latest predictions."""

    def __init__(
        self, *, keep: int = MAX_PREDICTIONS, input_bytes: int = MAX_INPUT_BYTES
    ) -> None:
        """Keep at most ``keep`` predictions and ``input_bytes`` of their inputs."""
        self._keep = keep
        self._input_limit = input_bytes
        self._by_id: OrderedDict[str, Entry] = OrderedDict()
        self._labelled: set[str] = set()
        self._others: dict[str, OtherAnswer] = {}
        self._inputs: OrderedDict[str, Floats] = OrderedDict()
        self._input_bytes = 0

    def add(self, entry: Entry, inputs: Floats | None) -> None:
        """Add a prediction; the same id once more replaces the older one."""
        self._forget(entry.sample_id)
        while len(self._by_id) >= self._keep:
            self._forget(next(iter(self._by_id)))
        self._by_id[entry.sample_id] = (
            replace(entry, outputs={}) if entry.outputs else entry
        )
        if inputs is None or inputs.nbytes > self._input_limit:
            return
        self._inputs[entry.sample_id] = np.array(inputs, np.float32)
        self._input_bytes += inputs.nbytes
        while self._input_bytes > self._input_limit:
            self._input_bytes -= self._inputs.popitem(last=False)[1].nbytes

    def find(self, sample_id: str) -> Entry | None:
        """Return the latest prediction of a sample."""
        return self._by_id.get(sample_id)

    def take_label(self, sample_id: str) -> bool:
        """Mark a prediction as labelled; false if it was so already."""
        if sample_id in self._labelled:
            return False
        self._labelled.add(sample_id)
        return True

    def attach(self, entry: Entry, other: OtherAnswer) -> bool:
        """Keep what a second release answered to the sample of an entry.

        Returns:
            Whether the sample's label came before, so that they make no pair.
        """
        known = self._by_id.get(entry.sample_id)
        if known is None or known.number != entry.number:
            return False
        if entry.sample_id in self._labelled:
            return True
        self._others[entry.sample_id] = other
        return False

    def other_of(self, sample_id: str) -> OtherAnswer | None:
        """Return what a second release answered to a sample, if one did."""
        return self._others.get(sample_id)

    def inputs_of(self, sample_id: str) -> Floats | None:
        """Return the input of a sample, if it is still kept."""
        return self._inputs.get(sample_id)

    def after(self, number: int, limit: int) -> list[Entry]:
        """Return up to ``limit`` predictions above ``number``, oldest first."""
        if not self._by_id:
            return []
        newest = next(reversed(self._by_id.values())).number
        wanted = min(max(newest - number, 0), len(self._by_id))
        tail = list(islice(reversed(self._by_id.values()), wanted))
        return [entry for entry in reversed(tail) if entry.number > number][:limit]

    def _forget(self, sample_id: str) -> None:
        if self._by_id.pop(sample_id, None) is None:
            return
        self._labelled.discard(sample_id)
        self._others.pop(sample_id, None)
        inputs = self._inputs.pop(sample_id, None)
        if inputs is not None:
            self._input_bytes -= inputs.nbytes

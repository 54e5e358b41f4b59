"""Predictions that wait to be counted together.

What a profile's channels need of a prediction is copied into buffers, and many rows are
extracted and counted at once: a sample then costs about a microsecond. Large inputs
wait in smaller numbers, so that the buffers stay below a quarter of a mebibyte for each
tensor. Not thread-safe: whoever owns it guards it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from edge_agent.errors import ModelError
from edge_agent.pipeline.prediction import Prediction
from edge_agent.runtime.port import Array
from edge_agent.sketch.along import MAX_ELEMENTS, thin
from edge_agent.sketch.channels import Values, extract
from edge_agent.sketch.profile import WindowProfile
from edge_agent.wire.profile import Channel, Source

CHANNEL_NOT_FINITE = "channel_not_finite"
MAX_ROWS = 256
BUFFER_BYTES = 256 << 10
"""The most that a tensor's rows may take, unless a single one is larger."""

_CLASS = {Source.CLASS, Source.CONFIDENCE}
_OUTPUT = {Source.OUTPUT, Source.OUTPUT_LEVEL, Source.OUTPUT_SPREAD}


def channel_values(channels: Sequence[Channel], prediction: Prediction) -> Values:
    """Return the channel values of one prediction, shape ``(channels,)``.

    Raises:
        ModelError: A channel names a tensor or an element that the model does not have
            (``AGENT-MODEL-007``).
    """
    try:
        values: Values = extract(
            channels,
            prediction.inputs[np.newaxis],
            prediction.probabilities[np.newaxis],
            {name: value[np.newaxis] for name, value in prediction.outputs.items()},
            {name: value[np.newaxis] for name, value in prediction.extra.items()},
        )[0]
    except (KeyError, IndexError, ValueError) as error:
        raise ModelError(
            "AGENT-MODEL-007", f"reference profile does not fit the model: {error}"
        ) from error
    return values


@dataclass(slots=True)
class _Buffer:
    take: Callable[[Prediction], Array]
    rows: Array


class Rows:
    """Up to 256 predictions of one model before they are counted."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        """Start empty; the buffers are made when the first prediction comes."""
        self._channels = channels
        self._kept: dict[tuple[str, str], _Buffer] = {}
        self._buffers: list[tuple[Array, Callable[[Prediction], Array]]] = []
        self._latencies: list[float] = []
        self._room = 0

    def __len__(self) -> int:
        """Return how many predictions wait."""
        return len(self._latencies)

    def add(self, prediction: Prediction) -> bool:
        """Keep what is watched of a prediction; true if there is no room for another.

        All predictions have arrays of the same shapes.
        """
        if not self._room:
            self._make_buffers(prediction)
        latencies = self._latencies
        place = len(latencies)
        for rows, take in self._buffers:
            rows[place] = take(prediction)
        latencies.append(prediction.latency_us)
        return place + 1 == self._room

    def drain(self, window: WindowProfile) -> None:
        """Count what waits into a window; rows that are not finite are rejected."""
        count = len(self._latencies)
        if not count:
            return
        values = extract(
            self._channels,
            self._array(("input", ""), count),
            self._array(("class", ""), count),
            self._named("output", count),
            self._named("input", count),
        )
        latencies = self._latencies
        if not np.isfinite(values).all():
            good = np.flatnonzero(np.isfinite(values).all(axis=1)).tolist()
            window.reject(CHANNEL_NOT_FINITE, count - len(good))
            values = values[good]
            latencies = [latencies[place] for place in good]
        window.add_rows(values, latencies)
        self._latencies = []

    def _make_buffers(self, prediction: Prediction) -> None:
        for channel in self._channels:
            key = _key(channel)
            if key not in self._kept:
                take = _thinned(_taker(*key), key, prediction)
                self._kept[key] = _Buffer(take, take(prediction))
        widest = max((buffer.rows.nbytes for buffer in self._kept.values()), default=0)
        self._room = MAX_ROWS
        if widest:
            self._room = min(max(BUFFER_BYTES // widest, 1), MAX_ROWS)
        for buffer in self._kept.values():
            one = buffer.rows
            buffer.rows = np.empty((self._room, *one.shape), one.dtype)
        self._buffers = [(buffer.rows, buffer.take) for buffer in self._kept.values()]

    def _array(self, key: tuple[str, str], count: int) -> Array:
        kept = self._kept.get(key)
        return np.empty((count, 0)) if kept is None else kept.rows[:count]

    def _named(self, kind: str, count: int) -> dict[str, Array]:
        return {
            name: buffer.rows[:count]
            for (what, name), buffer in self._kept.items()
            if what == kind and name
        }


def _key(channel: Channel) -> tuple[str, str]:
    if channel.source in _CLASS:
        return "class", ""
    return ("output" if channel.source in _OUTPUT else "input"), channel.tensor


def _thinned(
    take: Callable[[Prediction], Array], key: tuple[str, str], sample: Prediction
) -> Callable[[Prediction], Array]:
    """Keep of large inputs only the rows that are looked at."""
    if key[0] != "input" or take(sample).size <= MAX_ELEMENTS:
        return take
    return lambda prediction: thin(take(prediction)[np.newaxis])[0]


def _taker(kind: str, name: str) -> Callable[[Prediction], Array]:
    if kind == "class":
        return attrgetter("probabilities")
    if kind == "output":
        return lambda prediction: prediction.outputs[name]
    if name:
        return lambda prediction: prediction.extra[name]
    return attrgetter("inputs")

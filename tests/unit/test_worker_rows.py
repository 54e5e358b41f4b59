"""Predictions are counted many at a time, as if each were counted at once."""

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_agent.pipeline.prediction import Prediction
from edge_agent.pipeline.rows import (
    CHANNEL_NOT_FINITE,
    MAX_ROWS,
    Rows,
    channel_values,
)
from edge_agent.sketch.profile import WindowProfile
from edge_agent.wire.profile import Channel, Source

CHANNELS = [
    Channel(name="class", source=Source.CLASS, categories=["a", "b"]),
    Channel(name="mean", source=Source.INPUT_MEAN, index=1, edges=[0.0]),
    Channel(name="level", source=Source.INPUT_LEVEL, tensor="more", edges=[0.5]),
    Channel(name="out", source=Source.OUTPUT, tensor="e", index=1, edges=[0.0]),
    Channel(name="spread", source=Source.OUTPUT_SPREAD, tensor="e", edges=[0.1]),
]


def _prediction(seed: int, width: int = 3) -> Prediction:
    rng = np.random.default_rng(seed)
    return Prediction(
        release=1,
        label="a",
        index=0,
        confidence=0.5,
        probabilities=rng.random(2).astype(np.float32),
        outputs={"e": rng.normal(size=2).astype(np.float32)},
        inputs=rng.normal(size=(width, 2)).astype(np.float32),
        latency_us=float(seed + 1),
        extra={"more": rng.normal(size=4)},
    )


def test_rows_together_are_rows_one_by_one() -> None:
    """Over more than two buffers and a rest."""
    together, single = WindowProfile(CHANNELS), WindowProfile(CHANNELS)
    rows = Rows(CHANNELS)
    for seed in range(2 * MAX_ROWS + 22):
        made = _prediction(seed)
        single.add(channel_values(CHANNELS, made), made.latency_us)
        if rows.add(made):
            assert len(rows) == MAX_ROWS
            rows.drain(together)
    assert len(rows) == 22
    rows.drain(together)
    a, b = together.to_wire(), single.to_wire()
    assert (a.rows, a.counts, a.latency) == (b.rows, b.counts, b.latency)


def test_a_caller_may_change_its_arrays_afterwards() -> None:
    """What waits is a copy."""
    rows, window = Rows(CHANNELS), WindowProfile(CHANNELS)
    made = _prediction(3)
    rows.add(made)
    wanted = channel_values(CHANNELS, made)
    made.inputs[:] = 99
    made.outputs["e"][:] = 99
    rows.drain(window)
    assert window.to_wire().moments[1].mean == pytest.approx(wanted[1], abs=1e-5)
    assert window.to_wire().moments[3].mean == pytest.approx(wanted[3], abs=1e-5)


def test_a_row_that_is_not_finite_is_rejected_alone() -> None:
    """The others of its buffer are counted, with their latencies."""
    rows, window = Rows(CHANNELS), WindowProfile(CHANNELS)
    for seed in range(3):
        made = _prediction(seed)
        if seed == 1:
            made.outputs["e"][1] = np.inf
        rows.add(made)
    rows.drain(window)
    data = window.to_wire()
    assert (data.rows, data.rejected) == (2, {CHANNEL_NOT_FINITE: 1})
    assert sum(data.latency.values()) == 2


def test_large_inputs_wait_in_smaller_numbers() -> None:
    """A buffer does not grow with the input."""
    rows = Rows(CHANNELS)
    full = 1
    while not rows.add(_prediction(full, width=8192)):
        full += 1
    # Of 16384 numbers every ninth row is kept.
    assert full == (256 << 10) // (911 * 2 * 4)


def test_without_channels_only_latency_is_counted() -> None:
    """A release without a reference is legal."""
    rows, window = Rows([]), WindowProfile([])
    for seed in range(MAX_ROWS):
        full = rows.add(_prediction(seed))
    assert full
    rows.drain(window)
    data = window.to_wire()
    assert (data.rows, data.counts, sum(data.latency.values())) == (
        MAX_ROWS,
        [],
        MAX_ROWS,
    )


def test_a_reference_that_does_not_fit_the_model_is_an_error() -> None:
    """A channel of nothing is found when the release is tried."""
    for channel in (
        Channel(name="x", source=Source.OUTPUT, tensor="nowhere"),
        Channel(name="x", source=Source.OUTPUT, tensor="e", index=9),
        Channel(name="x", source=Source.INPUT_MEAN, tensor="nowhere"),
    ):
        with pytest.raises(ModelError) as caught:
            channel_values([channel], _prediction(0))
        assert caught.value.code == "AGENT-MODEL-007"

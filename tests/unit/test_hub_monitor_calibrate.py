"""Calibrated thresholds: quiet on clean streams, loud on shifted ones."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.sketch.profile import WindowProfile
from edge_agent.sketch.reference import build_reference
from edge_agent.wire.profile import Channel, ReferenceProfile, Source
from hub.monitor.calibrate import calibrate
from hub.monitor.scoring import (
    DeviceScore,
    History,
    Position,
    Verdict,
    Window,
    score_device,
)
from hub.monitor.thresholds import Thresholds

BASELINE, RECENT, WINDOW = 560, 280, 140
CHANNELS = [
    Channel(name=f"embedding_{i}", source=Source.OUTPUT, tensor="e", index=i)
    for i in range(7)
] + [Channel(name="confidence", source=Source.CONFIDENCE)]

Values = NDArray[np.float64]


def stream(seed: int, rows: int, *, memory: float = 0.8) -> Values:
    """Return rows of an AR(1) process with correlated channels, unit variance."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((rows, len(CHANNELS)))
    noise[:, 1] = 0.7 * noise[:, 0] + 0.3 * noise[:, 1]
    values = np.empty_like(noise)
    values[0] = noise[0]
    for i in range(1, rows):
        values[i] = memory * values[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    return values


def calibrated() -> tuple[ReferenceProfile, Thresholds]:
    """Return a reference and its thresholds from four held-out streams."""
    reference = build_reference("m", CHANNELS, stream(1000, 4000))
    held_out = [stream(2000 + i, 1500) for i in range(4)]
    groups = np.repeat([f"person-{i}" for i in range(4)], 1500)
    thresholds = calibrate(
        reference,
        np.concatenate(held_out),
        groups,
        baseline_rows=BASELINE,
        recent_rows=RECENT,
    )
    return reference, thresholds


def score(
    reference: ReferenceProfile, thresholds: Thresholds, values: Values
) -> DeviceScore:
    """Score a device that saw these values, in windows as a device closes them."""
    history = History(baseline_rows=BASELINE, recent_rows=RECENT)
    for place in range(0, len(values) - WINDOW + 1, WINDOW):
        profile = WindowProfile(reference.channels)
        profile.add_rows(values[place : place + WINDOW])
        history.add(
            Window(
                position=Position(0, place + 1),
                start_at=float(place),
                end_at=float(place + WINDOW),
                data=profile.to_wire(),
            )
        )
    return score_device(reference.channels, thresholds, history)


def test_clean_devices_are_clean() -> None:
    """Of 100 stationary devices with memory, at most five are called drifting."""
    reference, thresholds = calibrated()
    verdicts = [
        score(reference, thresholds, stream(seed, 980)).verdict for seed in range(100)
    ]

    assert Verdict.TOO_LITTLE not in verdicts
    assert verdicts.count(Verdict.DRIFTING) <= 5, thresholds


def test_shifted_devices_are_found_and_the_channel_is_named() -> None:
    """A shift of two standard deviations in one channel is found on every device."""
    reference, thresholds = calibrated()
    for seed in range(20):
        values = stream(seed, 980)
        values[700:, 3] += 2.0
        found = score(reference, thresholds, values)

        assert found.verdict is Verdict.DRIFTING, f"seed {seed}"
        assert found.shifts[0].name == "embedding_3"


def test_what_it_rests_on_is_recorded() -> None:
    """The thresholds tell how many pairs, streams and rows they come from."""
    _, thresholds = calibrated()

    assert thresholds.groups == 4
    assert thresholds.placements >= 100
    assert thresholds.shrunk == 1.0
    assert len(thresholds.scales) == len(CHANNELS)


def test_short_streams_shrink_the_blocks_and_say_so() -> None:
    """Streams shorter than a pair of blocks are used with smaller blocks."""
    reference = build_reference("m", CHANNELS, stream(1, 1000))
    thresholds = calibrate(
        reference,
        stream(2, 420),
        ["a"] * 420,
        baseline_rows=BASELINE,
        recent_rows=RECENT,
    )

    assert thresholds.shrunk == pytest.approx(0.4)
    assert thresholds.placements > 10


def test_without_data_the_rule_of_thumb_holds() -> None:
    """Too little held-out data gives PSI 0.25 and says that it is not calibrated."""
    reference = build_reference("m", CHANNELS, stream(1, 1000))
    thresholds = calibrate(
        reference,
        stream(2, 20),
        ["a"] * 20,
        baseline_rows=BASELINE,
        recent_rows=RECENT,
    )

    assert thresholds.placements == 0
    assert thresholds.scales[0] * thresholds.joint == pytest.approx(0.25)


def test_shapes_that_do_not_fit_are_refused() -> None:
    """Calibration values of other channels than the reference's are an error."""
    reference = build_reference("m", CHANNELS, stream(1, 1000))
    with pytest.raises(ValueError, match="do not fit"):
        calibrate(
            reference, np.zeros((9, 2)), ["a"] * 9, baseline_rows=90, recent_rows=90
        )

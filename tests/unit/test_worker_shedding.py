"""What is left out when a device is too hot, and that nothing flutters."""

import pytest

from edge_agent.pipeline.shedding import (
    COOL_READINGS,
    HOT_READINGS,
    Limits,
    Pressure,
    Readings,
    Shed,
    decide_shed,
)

LIMITS = Limits(hot_c=80.0, cool_c=70.0)
HOT, WARM, COOL = (Readings(celsius=c) for c in (80.0, 75.0, 70.0))
HELD_BACK = Readings(throttled_ratio=0.25)


def _after(now: Pressure, *readings: Readings) -> Pressure:
    for one in readings:
        now = decide_shed(now, one, LIMITS)
    return now


@pytest.mark.parametrize("bad", [HOT, HELD_BACK])
def test_levels_rise_one_by_one(bad: Readings) -> None:
    """Shadow first, then bulk, then samples; each after as many bad readings."""
    now, levels = Pressure(), []
    for _ in range(5):
        now = _after(now, *[bad] * HOT_READINGS)
        levels.append(now.level)
    assert levels == [Shed.SHADOW, Shed.BULK, Shed.SAMPLES, Shed.SAMPLES, Shed.SAMPLES]


def test_levels_fall_one_by_one_and_more_slowly() -> None:
    """It takes longer to take things up again than to leave them out."""
    now = Pressure(level=Shed.SAMPLES)
    now = _after(now, *[COOL] * (COOL_READINGS - 1))
    assert now.level is Shed.SAMPLES
    assert _after(now, COOL).level is Shed.BULK
    assert _after(now, *[COOL] * 100).level is Shed.NOTHING


def test_one_bad_reading_changes_nothing() -> None:
    """A peak is no pressure."""
    assert _after(Pressure(), HOT, COOL, HOT, COOL).level is Shed.NOTHING


def test_between_the_limits_everything_stays() -> None:
    """A device that is warm goes neither up nor down, whatever it was."""
    for level in Shed:
        assert _after(Pressure(level=level), *[WARM] * 50).level is level
    almost = _after(Pressure(level=Shed.BULK), *[COOL] * (COOL_READINGS - 1), WARM)
    assert _after(almost, COOL).level is Shed.BULK


def test_either_reading_is_enough_and_both_must_be_good() -> None:
    """A cool device that is held back is under pressure."""
    mixed = Readings(celsius=40.0, throttled_ratio=0.5)
    assert _after(Pressure(), mixed, mixed).level is Shed.SHADOW
    between = Readings(celsius=40.0, throttled_ratio=0.1)
    now = Pressure(level=Shed.SHADOW)
    assert _after(now, *[between] * 50).level is Shed.SHADOW


def test_a_device_that_tells_nothing_leaves_nothing_out() -> None:
    """Without readings the level falls and stays down."""
    now = _after(Pressure(level=Shed.SHADOW), *[Readings()] * COOL_READINGS)
    assert now == Pressure()

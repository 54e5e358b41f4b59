"""The alert machine: its table and its clocks."""

from itertools import product

import pytest

from hub.alerts.machine import (
    TRANSITIONS,
    Alert,
    AlertState,
    Condition,
    Event,
    Timing,
    step,
)

TIMING = Timing(for_s=2.0, keep_firing_for_s=60.0)
T, F, U, M = Condition.TRUE, Condition.FALSE, Condition.UNKNOWN, Condition.MOOT


def walk(*observed: tuple[Condition, float]) -> Alert:
    """Step a new alert through conditions at given times."""
    alert = Alert()
    for condition, now in observed:
        alert = step(alert, condition, now, TIMING)
    return alert


def test_the_table_is_complete() -> None:
    """Every state has a row for every event."""
    assert set(TRANSITIONS) == set(product(AlertState, Event))


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        ([(T, 0.0)], AlertState.PENDING),
        ([(T, 0.0), (T, 1.9)], AlertState.PENDING),
        ([(T, 0.0), (T, 2.0)], AlertState.FIRING),
        ([(T, 0.0), (F, 1.0), (T, 2.0)], AlertState.PENDING),
        ([(T, 0.0), (U, 1.0)], AlertState.UNKNOWN),
        ([(T, 0.0), (U, 1.0), (T, 9.0)], AlertState.PENDING),
        ([(T, 0.0), (U, 1.0), (F, 9.0)], AlertState.OK),
        ([(T, 0.0), (T, 2.0), (F, 3.0)], AlertState.RECOVERING),
        ([(T, 0.0), (T, 2.0), (F, 3.0), (T, 4.0)], AlertState.FIRING),
        ([(T, 0.0), (T, 2.0), (F, 3.0), (F, 63.0)], AlertState.OK),
        ([(T, 0.0), (T, 2.0), (F, 3.0), (U, 40.0), (F, 70.0)], AlertState.RECOVERING),
        ([(T, 0.0), (T, 2.0), (U, 9999.0)], AlertState.UNKNOWN),
        ([(T, 0.0), (T, 2.0), (U, 3.0), (T, 4.0)], AlertState.FIRING),
        ([(T, 0.0), (T, 2.0), (M, 3.0)], AlertState.OK),
        ([(U, 0.0)], AlertState.OK),
    ],
)
def test_an_alert_goes_the_way_of_its_observations(
    observed: list[tuple[Condition, float]], expected: AlertState
) -> None:
    """Each sequence of conditions ends in the state that Prometheus would give it."""
    assert walk(*observed).state is expected


def test_an_incident_keeps_the_time_at_which_it_fired() -> None:
    """Going through recovering and unknown does not make a second incident."""
    alert = walk((T, 0.0), (T, 2.0), (F, 3.0), (U, 4.0), (T, 5.0), (T, 9.0))

    assert (alert.state, alert.fired_at) == (AlertState.FIRING, 2.0)

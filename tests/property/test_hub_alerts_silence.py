"""Alerts under any sequence of observations."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hub.alerts.machine import Alert, AlertState, Condition, Timing, step

TIMING = Timing(for_s=2.0, keep_firing_for_s=60.0)
OBSERVED = st.lists(
    st.tuples(st.sampled_from(Condition), st.floats(0.1, 100.0)), max_size=40
)


def history(observed: list[tuple[Condition, float]]) -> list[tuple[Condition, Alert]]:
    """Step an alert through observations that are some seconds apart."""
    alert, now, passed = Alert(), 1000.0, [(Condition.FALSE, Alert())]
    for condition, wait_s in observed:
        now += wait_s
        alert = step(alert, condition, now, TIMING)
        passed.append((condition, alert))
        if alert.state is AlertState.OK:
            alert = Alert()
    return passed


@given(OBSERVED)
def test_missing_data_never_resolves_an_alert(
    observed: list[tuple[Condition, float]],
) -> None:
    """Without data an open alert is unknown, and one that fired stays an incident."""
    for (_, before), (condition, after) in pairwise(history(observed)):
        if condition is Condition.UNKNOWN and before.state is not AlertState.OK:
            assert after.state is AlertState.UNKNOWN
            assert after.fired_at == before.fired_at
            assert after.resolved_at is None


@given(OBSERVED)
def test_an_alert_fires_and_resolves_only_on_what_it_saw(
    observed: list[tuple[Condition, float]],
) -> None:
    """Firing takes a met condition, resolving one that is not met or moot."""
    for (_, before), (condition, after) in pairwise(history(observed)):
        if after.state is AlertState.FIRING:
            assert condition is Condition.TRUE
            assert after.fired_at is not None
        if after.state is AlertState.OK and before.state is not AlertState.OK:
            assert condition in (Condition.FALSE, Condition.MOOT)
            assert after.resolved_at is not None

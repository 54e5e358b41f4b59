"""The life of an alert, as one table and a pure step.

Prometheus' semantics (``for``, ``keep_firing_for``) plus ``unknown``: missing data is
a state of its own and never a recovery. ``fired_at`` marks an incident: an alert that
fired stays one incident until it is back to ``ok``, whatever it passes through.
Called by ``hub/alerts/service.py``.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class AlertState(StrEnum):
    """Where an alert is."""

    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"
    UNKNOWN = "unknown"


class Condition(StrEnum):
    """What was observed.

    ``MOOT`` is knowledge too: what the alert is about is no more (no device of the
    cohort runs that release any longer).
    """

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"
    MOOT = "moot"


class Event(StrEnum):
    """A condition, told apart by whether it has lasted long enough."""

    MET = "met"
    MET_LONG = "met for for_s"
    NOT_MET = "not met"
    NOT_MET_LONG = "not met for keep_firing_for_s"
    NO_DATA = "no data"
    MOOT = "moot"


_S, _E = AlertState, Event

TRANSITIONS: dict[tuple[AlertState, Event], AlertState] = {
    (_S.OK, _E.MET): _S.PENDING,
    (_S.OK, _E.MET_LONG): _S.FIRING,
    (_S.OK, _E.NOT_MET): _S.OK,
    (_S.OK, _E.NOT_MET_LONG): _S.OK,
    (_S.OK, _E.NO_DATA): _S.OK,
    (_S.OK, _E.MOOT): _S.OK,
    (_S.PENDING, _E.MET): _S.PENDING,
    (_S.PENDING, _E.MET_LONG): _S.FIRING,
    (_S.PENDING, _E.NOT_MET): _S.OK,
    (_S.PENDING, _E.NOT_MET_LONG): _S.OK,
    (_S.PENDING, _E.NO_DATA): _S.UNKNOWN,
    (_S.PENDING, _E.MOOT): _S.OK,
    (_S.FIRING, _E.MET): _S.FIRING,
    (_S.FIRING, _E.MET_LONG): _S.FIRING,
    (_S.FIRING, _E.NOT_MET): _S.RECOVERING,
    (_S.FIRING, _E.NOT_MET_LONG): _S.OK,
    (_S.FIRING, _E.NO_DATA): _S.UNKNOWN,
    (_S.FIRING, _E.MOOT): _S.OK,
    (_S.RECOVERING, _E.MET): _S.FIRING,
    (_S.RECOVERING, _E.MET_LONG): _S.FIRING,
    (_S.RECOVERING, _E.NOT_MET): _S.RECOVERING,
    (_S.RECOVERING, _E.NOT_MET_LONG): _S.OK,
    (_S.RECOVERING, _E.NO_DATA): _S.UNKNOWN,
    (_S.RECOVERING, _E.MOOT): _S.OK,
    (_S.UNKNOWN, _E.MET): _S.PENDING,  # FIRING if it fired before, see step()
    (_S.UNKNOWN, _E.MET_LONG): _S.FIRING,
    (_S.UNKNOWN, _E.NOT_MET): _S.RECOVERING,  # OK if it never fired, see step()
    (_S.UNKNOWN, _E.NOT_MET_LONG): _S.OK,
    (_S.UNKNOWN, _E.NO_DATA): _S.UNKNOWN,
    (_S.UNKNOWN, _E.MOOT): _S.OK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a condition must hold to fire, and be gone to resolve."""

    for_s: float
    keep_firing_for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert's state and its times, ``None`` where that has not happened.

    ``pending_at``: since when the condition has been met; ``clear_at``: since when it
    has not.
    """

    state: AlertState = AlertState.OK
    pending_at: float | None = None
    fired_at: float | None = None
    clear_at: float | None = None
    resolved_at: float | None = None


def step(alert: Alert, condition: Condition, now: float, timing: Timing) -> Alert:
    """Return the alert after one observation at ``now``.

    Without data both clocks stop and start anew: what was not seen did not last.
    """
    if condition is Condition.TRUE:
        began = alert.pending_at if alert.pending_at is not None else now
        event = Event.MET_LONG if now - began >= timing.for_s else Event.MET
        alert = replace(alert, pending_at=began, clear_at=None)
    elif condition is Condition.FALSE:
        ended = alert.clear_at if alert.clear_at is not None else now
        lasted = now - ended >= timing.keep_firing_for_s
        event = Event.NOT_MET_LONG if lasted else Event.NOT_MET
        alert = replace(alert, pending_at=None, clear_at=ended)
    else:
        event = Event.MOOT if condition is Condition.MOOT else Event.NO_DATA
        alert = replace(alert, pending_at=None, clear_at=None)
    return _enter(alert, _next_state(alert, event), now)


def _next_state(alert: Alert, event: Event) -> AlertState:
    """Look the transition up; out of ``unknown`` the incident decides."""
    if alert.state is AlertState.UNKNOWN and alert.fired_at is not None:
        if event is Event.MET:
            return AlertState.FIRING
    elif alert.state is AlertState.UNKNOWN and event is Event.NOT_MET:
        return AlertState.OK
    return TRANSITIONS[alert.state, event]


def _enter(alert: Alert, state: AlertState, now: float) -> Alert:
    if state is AlertState.FIRING and alert.fired_at is None:
        return replace(alert, state=state, fired_at=now)
    if state is AlertState.OK and alert.state is not AlertState.OK:
        return replace(alert, state=state, resolved_at=now)
    return replace(alert, state=state)

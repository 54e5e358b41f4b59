"""The states of a rollout and the one table of its transitions."""

from enum import StrEnum


class State(StrEnum):
    """Where a rollout is."""

    DRAFT = "DRAFT"
    VALIDATED = "VALIDATED"
    SIGNED = "SIGNED"
    CANARY = "CANARY"
    GRADUAL = "GRADUAL"
    HOLD = "HOLD"
    SOAK = "SOAK"
    COMPLETED = "COMPLETED"
    ABORTING = "ABORTING"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"
    SUPERSEDED = "SUPERSEDED"


class Event(StrEnum):
    """What can happen to a rollout."""

    VALIDATED = "validated"
    SIGNED = "signed"
    STARTED = "started"
    PROMOTED = "promoted"
    FINISHED = "finished"
    OVERDUE = "overdue"
    SOAKED = "soaked"
    ABORTED = "aborted"
    ORDERED_BACK = "ordered back"
    BACK = "back"
    SUPERSEDED = "superseded"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.DRAFT,        Event.VALIDATED):    State.VALIDATED,
    (State.VALIDATED,    Event.SIGNED):       State.SIGNED,
    (State.SIGNED,       Event.STARTED):      State.CANARY,
    (State.CANARY,       Event.PROMOTED):     State.GRADUAL,
    (State.CANARY,       Event.FINISHED):     State.SOAK,
    (State.CANARY,       Event.OVERDUE):      State.HOLD,
    (State.GRADUAL,      Event.PROMOTED):     State.GRADUAL,
    (State.GRADUAL,      Event.FINISHED):     State.SOAK,
    (State.GRADUAL,      Event.OVERDUE):      State.HOLD,
    (State.HOLD,         Event.PROMOTED):     State.GRADUAL,
    (State.HOLD,         Event.FINISHED):     State.SOAK,
    (State.SOAK,         Event.SOAKED):       State.COMPLETED,
    (State.DRAFT,        Event.ABORTED):      State.ABORTING,
    (State.VALIDATED,    Event.ABORTED):      State.ABORTING,
    (State.SIGNED,       Event.ABORTED):      State.ABORTING,
    (State.CANARY,       Event.ABORTED):      State.ABORTING,
    (State.GRADUAL,      Event.ABORTED):      State.ABORTING,
    (State.HOLD,         Event.ABORTED):      State.ABORTING,
    (State.SOAK,         Event.ABORTED):      State.ABORTING,
    (State.ABORTING,     Event.ORDERED_BACK): State.ROLLING_BACK,
    (State.ROLLING_BACK, Event.BACK):         State.ROLLED_BACK,
    (State.DRAFT,        Event.SUPERSEDED):   State.SUPERSEDED,
    (State.VALIDATED,    Event.SUPERSEDED):   State.SUPERSEDED,
    (State.SIGNED,       Event.SUPERSEDED):   State.SUPERSEDED,
    (State.CANARY,       Event.SUPERSEDED):   State.SUPERSEDED,
    (State.GRADUAL,      Event.SUPERSEDED):   State.SUPERSEDED,
    (State.HOLD,         Event.SUPERSEDED):   State.SUPERSEDED,
    (State.SOAK,         Event.SUPERSEDED):   State.SUPERSEDED,
}  # fmt: skip

CLOSED = frozenset({State.COMPLETED, State.ROLLED_BACK, State.SUPERSEDED})
"""Nothing more happens to a rollout in these states."""

STAGED = frozenset({State.CANARY, State.GRADUAL, State.HOLD})
"""A stage is under way and the gate decides about the next."""

BACKWARD = frozenset({State.ABORTING, State.ROLLING_BACK})
"""The candidate is being taken back; nothing but its end is possible."""

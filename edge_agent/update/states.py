"""Phases and events of an activation, and the one table that relates them.

``OK``, ``FAIL`` and ``TIMEOUT`` are the outcomes of the work of a phase; ``TRY`` is an
``OK`` after which the release is first compared with the active one; ``ASSIGN`` is a
newer assignment, ``RESTART`` the start of the agent, ``CRASH`` a worker that dies again
and again soon after it loaded a release, ``REVERT`` a person at the device who wants
the release before. An event that is not in the table for the present phase changes
nothing. Until ``SHADOW`` the active release is untouched; from
``ACTIVATE`` on an assignment waits until the phase machine is at rest. ``SAFE_MODE``
still tries the factory model: its ``OK`` says that this answers now.
"""

from enum import StrEnum, auto


class Phase(StrEnum):
    """Where an activation is; the value is what is journalled and reported."""

    IDLE = "IDLE"
    FETCH_META = "FETCH_META"
    DOWNLOAD = "DOWNLOAD"
    VERIFY = "VERIFY"
    SELF_TEST = "SELF_TEST"
    SHADOW = "SHADOW"
    ACTIVATE = "ACTIVATE"
    PROBATION = "PROBATION"
    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"
    SAFE_MODE = "SAFE_MODE"


class Event(StrEnum):
    """What can happen to an activation."""

    ASSIGN = auto()
    OK = auto()
    TRY = auto()
    FAIL = auto()
    TIMEOUT = auto()
    CRASH = auto()
    RESTART = auto()
    REVERT = auto()


# fmt: off
TRANSITIONS: dict[tuple[Phase, Event], Phase] = {
    (Phase.IDLE,       Event.ASSIGN):  Phase.FETCH_META,
    (Phase.IDLE,       Event.CRASH):   Phase.ROLLBACK,
    (Phase.IDLE,       Event.REVERT):  Phase.ROLLBACK,
    (Phase.FETCH_META, Event.OK):      Phase.DOWNLOAD,
    (Phase.FETCH_META, Event.FAIL):    Phase.IDLE,
    (Phase.FETCH_META, Event.TIMEOUT): Phase.IDLE,
    (Phase.FETCH_META, Event.ASSIGN):  Phase.FETCH_META,
    (Phase.FETCH_META, Event.RESTART): Phase.FETCH_META,
    (Phase.DOWNLOAD,   Event.OK):      Phase.VERIFY,
    (Phase.DOWNLOAD,   Event.FAIL):    Phase.IDLE,
    (Phase.DOWNLOAD,   Event.TIMEOUT): Phase.IDLE,
    (Phase.DOWNLOAD,   Event.ASSIGN):  Phase.FETCH_META,
    (Phase.DOWNLOAD,   Event.RESTART): Phase.DOWNLOAD,
    (Phase.VERIFY,     Event.OK):      Phase.SELF_TEST,
    (Phase.VERIFY,     Event.FAIL):    Phase.IDLE,
    (Phase.VERIFY,     Event.TIMEOUT): Phase.IDLE,
    (Phase.VERIFY,     Event.ASSIGN):  Phase.FETCH_META,
    (Phase.VERIFY,     Event.RESTART): Phase.VERIFY,
    (Phase.SELF_TEST,  Event.OK):      Phase.ACTIVATE,
    (Phase.SELF_TEST,  Event.TRY):     Phase.SHADOW,
    (Phase.SELF_TEST,  Event.FAIL):    Phase.IDLE,
    (Phase.SELF_TEST,  Event.TIMEOUT): Phase.IDLE,
    (Phase.SELF_TEST,  Event.ASSIGN):  Phase.FETCH_META,
    (Phase.SELF_TEST,  Event.RESTART): Phase.SELF_TEST,
    (Phase.SHADOW,     Event.OK):      Phase.ACTIVATE,
    (Phase.SHADOW,     Event.FAIL):    Phase.IDLE,
    (Phase.SHADOW,     Event.TIMEOUT): Phase.IDLE,
    (Phase.SHADOW,     Event.CRASH):   Phase.IDLE,
    (Phase.SHADOW,     Event.ASSIGN):  Phase.FETCH_META,
    (Phase.SHADOW,     Event.RESTART): Phase.SHADOW,
    (Phase.ACTIVATE,   Event.OK):      Phase.PROBATION,
    (Phase.ACTIVATE,   Event.FAIL):    Phase.ROLLBACK,
    (Phase.ACTIVATE,   Event.TIMEOUT): Phase.ROLLBACK,
    (Phase.ACTIVATE,   Event.CRASH):   Phase.ROLLBACK,
    (Phase.ACTIVATE,   Event.RESTART): Phase.ACTIVATE,
    (Phase.PROBATION,  Event.OK):      Phase.COMMIT,
    (Phase.PROBATION,  Event.FAIL):    Phase.ROLLBACK,
    (Phase.PROBATION,  Event.TIMEOUT): Phase.ROLLBACK,
    (Phase.PROBATION,  Event.CRASH):   Phase.ROLLBACK,
    (Phase.PROBATION,  Event.RESTART): Phase.ACTIVATE,
    (Phase.PROBATION,  Event.REVERT):  Phase.ROLLBACK,
    (Phase.COMMIT,     Event.OK):      Phase.IDLE,
    (Phase.COMMIT,     Event.FAIL):    Phase.IDLE,
    (Phase.COMMIT,     Event.TIMEOUT): Phase.IDLE,
    (Phase.COMMIT,     Event.RESTART): Phase.COMMIT,
    (Phase.ROLLBACK,   Event.OK):      Phase.IDLE,
    (Phase.ROLLBACK,   Event.FAIL):    Phase.SAFE_MODE,
    (Phase.ROLLBACK,   Event.TIMEOUT): Phase.SAFE_MODE,
    (Phase.ROLLBACK,   Event.CRASH):   Phase.SAFE_MODE,
    (Phase.ROLLBACK,   Event.RESTART): Phase.ROLLBACK,
    (Phase.SAFE_MODE,  Event.OK):      Phase.IDLE,
    (Phase.SAFE_MODE,  Event.ASSIGN):  Phase.FETCH_META,
    (Phase.SAFE_MODE,  Event.RESTART): Phase.SAFE_MODE,
}
# fmt: on

AT_REST = frozenset({Phase.IDLE, Phase.SAFE_MODE})
"""Phases that wait for an assignment; all others have a deadline."""

DEADLINES_S: dict[Phase, float] = {
    Phase.FETCH_META: 900.0,
    Phase.DOWNLOAD: 6 * 3600.0,
    Phase.VERIFY: 120.0,
    Phase.SELF_TEST: 120.0,
    Phase.SHADOW: 360.0,
    Phase.ACTIVATE: 60.0,
    Phase.PROBATION: 180.0,
    Phase.COMMIT: 60.0,
    Phase.ROLLBACK: 60.0,
}
"""How long a phase may take; the policies of an assignment may ask for more."""

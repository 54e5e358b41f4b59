"""The penalty box: a device on which releases keep failing gets no new one for a while.

What fails twice within a day may be the device (its sensor, its memory, its clock)
rather than two releases. Only what is new to the device waits: releases that were once
committed on it, among them the one that a rollback asks for, never do. Pure.
"""

from edge_agent.store.slots import Slots

FAILURES = 2
WINDOW_S = 86_400.0
"""That many failures within this time close the box ..."""
PENALTY_S = 86_400.0
"""... for this long after the last of them."""


def add_failure(failed_at: tuple[float, ...], now: float) -> tuple[float, ...]:
    """Return the failures that still matter, with one more."""
    return (*failed_at, now)[-FAILURES:]


def penalty_until(state: Slots, now: float) -> float:
    """Return until when the device takes up nothing new (0: it does).

    A failure in the future was noted by a clock that was wrong: it counts for nothing.
    """
    failures = state.failed_at
    if len(failures) < FAILURES:
        return 0.0
    first, last = failures[0], failures[-1]
    if not 0.0 <= last - first <= WINDOW_S or last > now:
        return 0.0
    until = last + PENALTY_S
    return until if now < until else 0.0

"""Threads that answer somebody, and others that take their place where they hang.

A thread in native code cannot be stopped. What it is to answer can be taken from it:
who serves a connection says with :func:`relievable` how another thread would answer
and go on, and who runs a model calls that once it has lasted for too long. The thread
itself finds out when it comes back, by :class:`Relieved`, and ends.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

StandIn = Callable[[], None]
"""Starts the thread that answers instead. Called once at most, from any thread."""

_Answer = TypeVar("_Answer")


class _Mine(threading.local):
    stand_in: StandIn | None = None


_mine = _Mine()


class Relieved(BaseException):
    """Another thread answers by now: end, and touch nothing of what it uses.

    Not an ``Exception``: whoever handles errors on the way must not answer for it.
    """


def relievable(stand_in: StandIn, answer: Callable[[], _Answer]) -> _Answer:
    """Return what ``answer`` returns; the calling thread can be relieved in it.

    Raises:
        Relieved: ``stand_in`` was called meanwhile.
    """
    _mine.stand_in = stand_in
    try:
        return answer()
    finally:
        _mine.stand_in = None


def my_stand_in() -> StandIn | None:
    """Return how the calling thread would be relieved, if it can be."""
    return _mine.stand_in

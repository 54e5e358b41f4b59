"""What a failure means to a process that must live: whose it is, and what to do.

Data that the code cannot use concerns one device: it is set aside. A resource that is
gone (descriptors, memory, space) comes back: the step waits. A database that is busy
is tried again, one that is broken ends the hub, because nothing can be promised then.
"""

import errno
from enum import StrEnum

from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

_ERRNOS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT}
)
_TEXTS = ("disk is full", "unable to open", "out of memory", "can't start new thread")


class Fault(StrEnum):
    """What kind of failure an exception is."""

    DATA = "data"
    RESOURCE = "resource"
    BUSY = "busy"
    BROKEN = "broken"


def classify(error: BaseException) -> Fault:
    """Say what kind of failure an exception is."""
    seen: BaseException | None = error
    while seen is not None:
        if _is_resource(seen):
            return Fault.RESOURCE
        seen = seen.__cause__
    if isinstance(error, OperationalError | InterfaceError):
        return Fault.BUSY
    # Its subclasses speak of one statement; the class itself of the file.
    return Fault.BROKEN if type(error) is DatabaseError else Fault.DATA


def _is_resource(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno in _ERRNOS
    known = isinstance(error, OperationalError | RuntimeError)
    return known and any(text in str(error) for text in _TEXTS)

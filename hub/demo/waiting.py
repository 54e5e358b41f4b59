"""Waiting for something to become true, with a deadline and a text of what."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from hub.errors import WaitTimeoutError

POLL_S = 0.2
PATIENCE = 4.0
"""Deadlines are for a machine with nothing else to do; a busy one gets so many times
as long, since slow is not wrong."""


class Check(Protocol):
    """Something that raises when waiting has become pointless."""

    def check(self) -> None:
        """Raise if waiting is pointless."""


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    timeout_s: float,
    check: Check,
    explain: Callable[[], str] = lambda: "it did not happen",
) -> None:
    """Poll ``condition`` until it holds.

    ``timeout_s`` is what is enough on a quiet machine.

    Raises:
        WaitTimeoutError: It does not hold within :data:`PATIENCE` times that; the text
            holds ``what`` and what ``explain`` says of the state then.
    """
    patience_s = PATIENCE * timeout_s
    deadline = time.monotonic() + patience_s
    pause = threading.Event()
    while not condition():
        check.check()
        if time.monotonic() > deadline:
            state = explain()
            raise WaitTimeoutError(
                "HUB-DEMO-002",
                f"waited {patience_s:.0f} s for {what}"
                + (f": {state}" if state else ""),
            )
        pause.wait(POLL_S)

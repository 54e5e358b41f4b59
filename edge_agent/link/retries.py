"""When to connect again: soon after a loss, slowly when two fight for one name.

A broker gives a device's name to whoever connected last, so two devices with one id
throw each other out for ever. That shows as sessions that end soon after they began,
one after another, though the broker answers. Pure; called by the link's thread.
"""

from dataclasses import dataclass

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 30.0
STEADY_S = 2.0
"""A session of this length is a good one, while nothing is contested."""
FIGHT_SESSIONS = 5
"""Short sessions in a row, without a failed connection, that make a fight."""


@dataclass(slots=True)
class Retries:
    """The longest that the next attempt may wait, and whether we are in a fight."""

    wait_s: float = RETRY_FIRST_S
    short: int = 0

    @property
    def contested(self) -> bool:
        """Whether somebody else seems to use this device's id."""
        return self.short >= FIGHT_SESSIONS

    def ended(self, session_s: float | None) -> None:
        """Take note that a session ended, or (``None``) that there was none.

        Both fighters wait at most ``wait_s``, so neither has a session of twice that.
        """
        if session_s is None:
            self.wait_s = min(2 * self.wait_s, RETRY_MAX_S)
            self.short = 0
            return
        limit_s = max(STEADY_S, 2 * self.wait_s if self.contested else 0.0)
        self.short = 0 if session_s >= limit_s else self.short + 1
        if self.contested:
            self.wait_s = min(2 * self.wait_s, RETRY_MAX_S)
        else:
            self.wait_s = RETRY_FIRST_S

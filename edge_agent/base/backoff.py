"""How long to wait before trying again: full jitter under a limit that doubles.

Pure: the caller draws the random number. Everybody who reconnects or sends again by
itself uses it, so that many devices do not come back at the same moment.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """The next wait's limit; starts at ``first_s``, doubles up to ``max_s``."""

    first_s: float
    max_s: float
    failures: int = 0

    def next_s(self, drawn: float) -> float:
        """Return the next wait.

        Args:
            drawn: A random number from 0 to 1.
        """
        limit = min(self.first_s * 2.0 ** min(self.failures, 32), self.max_s)
        self.failures += 1
        return max(0.05, drawn * limit)

    def reset(self) -> None:
        """It worked: the next wait is a short one again."""
        self.failures = 0

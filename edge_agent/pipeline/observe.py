"""The open profile window of the release that is served, and when it closes.

A window closes by rows or by age, whichever is first, and when its release is swapped
out. A window that saw nothing leaves no record. Rejected samples are counted in it and
enter no other figure. Not thread-safe: the sample path's lock guards it.
"""

from edge_agent.base.clock import Clock
from edge_agent.config import ProfileConfig
from edge_agent.pipeline.infer import Loaded
from edge_agent.pipeline.prediction import Prediction
from edge_agent.pipeline.rows import Rows
from edge_agent.sketch.profile import WindowProfile
from edge_agent.wire.records import ProfileRecord


class Observer:
    """Fills windows of one release.

    Attributes:
        read_at: The monotonic time that the newest prediction came at.
    """

    def __init__(self, loaded: Loaded, config: ProfileConfig, clock: Clock) -> None:
        """Open the first window."""
        self._loaded = loaded
        self._config = config
        self._clock = clock
        # Its buffers serve every window: new ones for each would riddle the heap.
        self._rows = Rows(loaded.reference.channels)
        self._open()

    def add(self, prediction: Prediction) -> ProfileRecord | None:
        """Add one prediction; return the window's record if that closes it."""
        if self._rows.add(prediction):
            self._rows.drain(self._window)
        return self.close_if_due()

    def reject(self, reason: str) -> None:
        """Count a sample that was not inferred."""
        self._window.reject(reason)

    def close_if_due(self) -> ProfileRecord | None:
        """Close the window if it is full or old."""
        self.read_at = self._clock.mono()
        old = self.read_at - self._opened_mono >= self._config.window_s
        rows = self._window.rows + len(self._rows)
        if rows >= self._config.window_rows or old:
            return self.close()
        return None

    def close(self) -> ProfileRecord | None:
        """Close the window and open the next; ``None`` if it saw nothing."""
        self._rows.drain(self._window)
        window, started = self._window, self._opened_wall
        self._open()
        if not window.rows and not window.rejected:
            return None
        return ProfileRecord(
            at=self._opened_wall,
            release=self._loaded.release,
            reference=self._loaded.reference_sha256,
            window_start_at=started,
            window_end_at=self._opened_wall,
            profile=window.to_wire(),
        )

    def _open(self) -> None:
        self._window = WindowProfile(self._loaded.reference.channels)
        self._opened_wall = self._clock.wall()
        self._opened_mono = self.read_at = self._clock.mono()

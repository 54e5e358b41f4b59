"""The open profile window of the release that is served, and when it closes.

A window closes by rows or by age, whichever is first, and when its release is swapped
out. A window that saw nothing leaves no record. Rejected samples are counted in it and
enter no other figure. Not thread-safe: the sample path's lock guards it.
"""

import numpy as np

from edge_agent.base.clock import Clock
from edge_agent.config import ProfileConfig
from edge_agent.errors import ModelError
from edge_agent.pipeline.infer import Loaded
from edge_agent.pipeline.prediction import Prediction
from edge_agent.sketch.channels import Values, extract
from edge_agent.sketch.profile import WindowProfile
from edge_agent.wire.profile import ReferenceProfile
from edge_agent.wire.records import ProfileRecord

CHANNEL_NOT_FINITE = "channel_not_finite"


def channel_values(reference: ReferenceProfile, prediction: Prediction) -> Values:
    """Return the channel values of one prediction, shape ``(channels,)``.

    Raises:
        ModelError: The reference names an output or an element that the model does
            not have (``AGENT-MODEL-007``).
    """
    try:
        values: Values = extract(
            reference.channels,
            prediction.inputs[np.newaxis],
            prediction.probabilities[np.newaxis],
            {name: value[np.newaxis] for name, value in prediction.outputs.items()},
        )[0]
    except (KeyError, IndexError) as error:
        raise ModelError(
            "AGENT-MODEL-007", f"reference profile does not fit the model: {error}"
        ) from error
    return values


class Observer:
    """Fills windows of one release."""

    def __init__(self, loaded: Loaded, config: ProfileConfig, clock: Clock) -> None:
        """Open the first window."""
        self._loaded = loaded
        self._config = config
        self._clock = clock
        self._open()

    def add(self, prediction: Prediction) -> ProfileRecord | None:
        """Add one prediction; return the window's record if that closes it."""
        values = channel_values(self._loaded.reference, prediction)
        if np.isfinite(values).all():
            self._window.add(values, prediction.latency_us)
        else:
            self._window.reject(CHANNEL_NOT_FINITE)
        return self.close_if_due()

    def reject(self, reason: str) -> None:
        """Count a sample that was not inferred."""
        self._window.reject(reason)

    def close_if_due(self) -> ProfileRecord | None:
        """Close the window if it is full or old."""
        old = self._clock.mono() - self._opened_mono >= self._config.window_s
        if self._window.rows >= self._config.window_rows or old:
            return self.close()
        return None

    def close(self) -> ProfileRecord | None:
        """Close the window and open the next; ``None`` if it saw nothing."""
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
        self._opened_mono = self._clock.mono()

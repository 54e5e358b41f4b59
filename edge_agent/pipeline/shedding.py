"""What a device that is too hot or held back leaves out, and in which order: pure.

First the shadow (nobody waits for it), then bulk (files can wait), then most samples of
the sources (a lower sampling rate). Requests of the local API are never left out. Each
step needs ``HOT_READINGS`` bad readings in a row, and each step back ``COOL_READINGS``
good ones; what is between the two limits changes nothing, so nothing flutters.
"""

from dataclasses import dataclass
from enum import IntEnum

HOT_READINGS = 2
COOL_READINGS = 6
THINNING = 4
"""Of so many samples of a source one is inferred when the sampling rate is lowered."""


class Shed(IntEnum):
    """How much is left out; each level includes those below it."""

    NOTHING = 0
    SHADOW = 1
    BULK = 2
    SAMPLES = 3

    @property
    def told(self) -> str:
        """What messages call it; nothing left out has no name."""
        return self.name.lower() if self else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What the system tells; ``None`` where it does not.

    ``celsius`` is the hottest zone, ``throttled_ratio`` the share of scheduling periods
    since the last reading in which the process group had used up its quota.
    """

    celsius: float | None = None
    throttled_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on a reading is bad, and up to where it is good."""

    hot_c: float
    cool_c: float
    throttled_high: float = 0.25
    throttled_low: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """The present level, and how many readings in a row speak for another."""

    level: Shed = Shed.NOTHING
    hot: int = 0
    cool: int = 0


def tell_readings(readings: Readings) -> str:
    """Return the readings as text."""
    parts = []
    if readings.celsius is not None:
        parts.append(f"{readings.celsius:.0f} degrees")
    if readings.throttled_ratio is not None:
        parts.append(f"held back in {readings.throttled_ratio:.0%} of periods")
    return ", ".join(parts) or "no readings"


def decide_shed(now: Pressure, readings: Readings, limits: Limits) -> Pressure:
    """Return the pressure after one more reading."""
    if _is_hot(readings, limits):
        if now.hot + 1 < HOT_READINGS:
            return Pressure(level=now.level, hot=now.hot + 1)
        return Pressure(level=Shed(min(now.level + 1, Shed.SAMPLES)))
    if _is_cool(readings, limits):
        if now.cool + 1 < COOL_READINGS:
            return Pressure(level=now.level, cool=now.cool + 1)
        return Pressure(level=Shed(max(now.level - 1, Shed.NOTHING)))
    return Pressure(level=now.level)


def _is_hot(readings: Readings, limits: Limits) -> bool:
    hot = readings.celsius is not None and readings.celsius >= limits.hot_c
    ratio = readings.throttled_ratio
    return hot or (ratio is not None and ratio >= limits.throttled_high)


def _is_cool(readings: Readings, limits: Limits) -> bool:
    cool = readings.celsius is None or readings.celsius <= limits.cool_c
    ratio = readings.throttled_ratio
    return cool and (ratio is None or ratio <= limits.throttled_low)

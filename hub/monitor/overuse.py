"""Devices that send more than their share, as observations.

Ingest refuses what is beyond a device's budget and deletes what is beyond its quota
(:mod:`hub.ingest.budget`, :mod:`hub.storage.device_days`), and counts both by day. An
alert tells a person: an honest device does not get there. Called by
:mod:`hub.monitor.service`.
"""

from collections.abc import Collection, Iterator

from sqlalchemy import Engine

from hub.alerts.evidence import OveruseEvidence
from hub.alerts.machine import Condition
from hub.alerts.service import Observation
from hub.storage.device_days import DAY_S, DeviceDay, list_over

OVERUSE = "overuse"
LOOK_S = 10.0
"""How often the counts are looked at; an alert needs no more."""

Open = Collection[tuple[str, int, str]]
"""Rule, release and cohort of the open incidents."""


class OveruseWatch:
    """Reads today's counts; one instance a process."""

    def __init__(self, engine: Engine) -> None:
        """Begin with nothing looked at."""
        self._engine = engine
        self._looked_at = float("-inf")
        self._found: list[Observation] = []

    def observe(self, open_keys: Open, now: float) -> list[Observation]:
        """Return who is beyond budget or quota today, and of open incidents who is not.

        An incident so lasts until the day (UTC) is over.
        """
        if not self._looked_at <= now < self._looked_at + LOOK_S:
            self._looked_at = now
            with self._engine.connect() as connection:
                over = {day.device: day for day in list_over(connection, now)}
            self._found = list(_judge(over, open_keys))
        return self._found


def _judge(over: dict[str, DeviceDay], open_keys: Open) -> Iterator[Observation]:
    for day in over.values():
        yield _observation(day)
    for rule, release, device in open_keys:
        if rule == OVERUSE and device not in over:
            yield Observation(
                rule=OVERUSE,
                release=release,
                cohort=device,
                condition=Condition.FALSE,
            )


def _observation(day: DeviceDay) -> Observation:
    """Say what a device did; the alert's cohort is its id."""
    return Observation(
        rule=OVERUSE,
        release=0,
        cohort=day.device,
        condition=Condition.TRUE,
        severity="high",
        summary=f"device {day.device} sends more than it may: {day.refused} messages"
        f" not taken, {day.gone_rows} of its oldest records of the day deleted;"
        f" if it should not, `hub devices revoke {day.device}`",
        evidence=OveruseEvidence(
            device=day.device,
            day_at=day.day * DAY_S,
            kept_bytes=max(0, day.bytes),
            refused=day.refused,
            deleted_records=day.gone_rows,
            deleted_bytes=day.gone_bytes,
        ),
    )

"""Devices that reject every sample: they run, report, and predict nothing.

Their profiles have no row, so neither drift nor accuracy can say anything of them. A
device counts as rejecting after :data:`RUN` rejected samples without an accepted one,
and no longer after as many accepted ones: a few of either change nothing. Pure.
Called by :mod:`hub.monitor.service`.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from edge_agent.wire.profile import ProfileData
from edge_agent.wire.records import ProfileRecord
from hub.alerts.evidence import MAX_DEVICES, NoDataEvidence, RejectingDevice
from hub.alerts.machine import Condition
from hub.alerts.service import Observation

NO_DATA = "no_data"
RUN = 20
"""Samples in a row that make a device rejecting, and accepted ones that end it."""
_SHOWN = 3

OnRelease = tuple[str, int]
"""A device (or a cohort) and a release."""


@dataclass(slots=True, kw_only=True)
class _Intake:
    """What became of a device's newest samples under one release."""

    rejected: int = 0
    accepted: int = 0
    is_rejecting: bool = False
    reasons: Counter[str] = field(default_factory=Counter)
    since_at: float = 0.0
    heard_at: float = 0.0

    def take(self, data: ProfileData, received_at: float) -> None:
        """Count one window."""
        self.heard_at = max(self.heard_at, received_at)
        if data.rows:
            self.accepted += data.rows
            if not self.is_rejecting or self.accepted >= RUN:
                self.is_rejecting, self.rejected = False, 0
                self.reasons.clear()
            return
        if not self.rejected:
            self.since_at = received_at
        self.accepted = 0
        self.rejected += sum(data.rejected.values())
        self.reasons.update(data.rejected)
        self.is_rejecting = self.is_rejecting or self.rejected >= RUN

    @property
    def reason(self) -> str:
        """Return for what it rejected most."""
        return self.reasons.most_common(1)[0][0] if self.reasons else ""


class NoDataWatch:
    """Follows what devices accept; one instance, in the ticker thread."""

    def __init__(self, fresh_s: float, heard_s: float) -> None:
        """Start with nothing.

        Who said nothing for ``fresh_s`` is unknown, for ``heard_s`` gone.
        """
        self._fresh_s, self._heard_s = fresh_s, heard_s
        self._intakes: dict[OnRelease, _Intake] = {}

    def take(self, device: str, record: ProfileRecord, received_at: float) -> None:
        """Take in one window of a device, in the order of commit."""
        key = (device, record.release)
        self._intakes.setdefault(key, _Intake()).take(record.profile, received_at)

    def keep(self, devices: Collection[str]) -> None:
        """Forget what is known of all other devices."""
        self._intakes = {
            key: one for key, one in self._intakes.items() if key[0] in devices
        }

    def observe(
        self,
        cohorts: Mapping[OnRelease, Collection[str]],
        open_keys: Collection[tuple[str, int, str]],
        now: float,
    ) -> Iterator[Observation]:
        """Judge each cohort's devices on a release.

        What is well says nothing, unless an incident is open.
        """
        for (cohort, release), devices in cohorts.items():
            found = [
                (name, one)
                for name in devices
                if (one := self._intakes.get((name, release))) is not None
                and now - one.heard_at <= self._heard_s
            ]
            heard = [f for f in found if now - f[1].heard_at <= self._fresh_s]
            rejecting = [f for f in heard if f[1].is_rejecting]
            if rejecting or (NO_DATA, release, cohort) in open_keys:
                silent = sum(one.is_rejecting for _, one in found) > len(rejecting)
                yield _observation(
                    release,
                    cohort,
                    rejecting,
                    len(heard),
                    unsure=silent or not heard,
                )


def _observation(
    release: int,
    cohort: str,
    rejecting: list[tuple[str, _Intake]],
    heard: int,
    *,
    unsure: bool,
) -> Observation:
    if not rejecting:
        condition = Condition.UNKNOWN if unsure else Condition.FALSE
        return Observation(
            rule=NO_DATA, release=release, cohort=cohort, condition=condition
        )
    named = ", ".join(f"{name} ({one.reason})" for name, one in rejecting[:_SHOWN])
    more = f", {len(rejecting) - _SHOWN} more" if len(rejecting) > _SHOWN else ""
    devices = [
        RejectingDevice(
            device=name, rejected=one.rejected, reason=one.reason, since_at=one.since_at
        )
        for name, one in rejecting[:MAX_DEVICES]
    ]
    return Observation(
        rule=NO_DATA,
        release=release,
        cohort=cohort,
        condition=Condition.TRUE,
        severity="high",
        summary=f"no usable data in cohort {cohort} on release {release}:"
        f" {len(rejecting)} of {heard} devices reject every sample: {named}{more}",
        evidence=NoDataEvidence(devices=devices, heard=heard),
    )

"""A clock that is not believed, and metadata that was signed in the future.

Both hold something back that only a person can let go: the hub's own pruning and
signing, or every device that took the signed time for the floor under its own. Called
by :mod:`hub.monitor.service`.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from edge_agent.base.clock import Clock
from hub.alerts.evidence import ClockEvidence
from hub.alerts.machine import Condition
from hub.alerts.service import Observation
from hub.clock_trust import CURE, STEP_S, HubClock
from hub.clock_witnesses import signed_at
from hub.releases.tuf_repo import TufRepo

CLOCK = "clock"
HUB, METADATA = "hub", "metadata"
"""What it is about, in the place of a cohort."""

Open = Collection[tuple[str, int, str]]
"""Rule, release and cohort of the open incidents."""


class ClockWatch:
    """Looks at the hub's clock and at the newest signed time."""

    def __init__(self, clock: Clock, tuf: TufRepo) -> None:
        """Watch one clock and the metadata of one repository."""
        self._clock, self._tuf = clock, tuf

    def observe(self, open_keys: Open, now: float) -> list[Observation]:
        """Return what is to be said; what is well says nothing unless an alert is open.

        ``now`` is the hub's time, which goes on from the known while the system's
        clock is not believed.
        """
        found = [*self._hub(), *self._metadata(now)]
        return [
            seen
            for seen in found
            if seen.condition is Condition.TRUE or (CLOCK, 0, seen.cohort) in open_keys
        ]

    def _hub(self) -> Iterator[Observation]:
        if not isinstance(self._clock, HubClock):
            return
        verdict = self._clock.check()
        text = f"{verdict.reason}: nothing is pruned, signed or expires; {CURE}"
        yield _observation(
            HUB,
            None if verdict.is_trusted else text,
            ClockEvidence(clock=verdict.clock, known=verdict.known),
        )

    def _metadata(self, now: float) -> Iterator[Observation]:
        at = signed_at(self._tuf)
        text = (
            f"the metadata was signed at {datetime.fromtimestamp(at, UTC):%Y-%m-%d},"
            f" {(at - now) / 86_400:.1f} days ahead of this hub's clock: devices that"
            " took it find what is signed now expired. A new online key ends that:"
            " hub keys rotate online --offline-keys DIR"
        )
        ahead = at > now + STEP_S
        evidence = ClockEvidence(clock=now, known=at)
        yield _observation(METADATA, text if ahead else None, evidence)


def _observation(about: str, text: str | None, evidence: ClockEvidence) -> Observation:
    return Observation(
        rule=CLOCK,
        release=0,
        cohort=about,
        condition=Condition.TRUE if text else Condition.FALSE,
        severity="critical",
        summary=text or "",
        evidence=evidence,
    )

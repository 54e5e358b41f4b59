"""When a certificate is renewed, and what happens when it cannot be."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_agent.errors import AgentError, EnrolError
from edge_agent.openssl import Certificate
from edge_agent.renewal import (
    FIRST_WAIT_S,
    LAST_WAIT_S,
    LOOK_S,
    Renewal,
    RenewalPorts,
    due_at,
)

DAY_S = 86_400.0
BEGIN = 1_800_000_000.0
CERTIFICATE = Certificate(name="d1", begins_at=BEGIN, ends_at=BEGIN + 90 * DAY_S)


@dataclass
class Rig:
    """A clock, a hub that answers or does not, and what was told."""

    now: float = BEGIN
    answers: bool = True
    asked: int = 0
    reconnected: int = 0
    told: list[AgentError] = field(default_factory=list)

    def wall(self) -> float:
        """Return the wall time."""
        return self.now

    def mono(self) -> float:
        """Return the same as monotonic time."""
        return self.now

    def renew(self) -> None:
        """Answer as the hub would."""
        self.asked += 1
        if not self.answers:
            raise EnrolError("AGENT-ENROL-006", "the hub cannot be reached")

    def reconnect(self) -> None:
        """Count."""
        self.reconnected += 1

    def renewal(self) -> Renewal:
        """Return a renewal over all this."""
        ports = RenewalPorts(
            read=lambda _path: CERTIFICATE,
            renew=self.renew,
            renewed=self.reconnect,
            tell=self.told.append,
        )
        return Renewal(Path("device.pem"), self, ports)


@pytest.mark.parametrize(("luck", "days"), [(0.0, 60.0), (1.0, 64.5)])
def test_it_is_due_after_two_thirds_of_its_life(luck: float, days: float) -> None:
    """Devices that enrolled together do not renew together."""
    assert due_at(CERTIFICATE, luck) == pytest.approx(BEGIN + days * DAY_S)


def test_a_young_certificate_is_left_alone() -> None:
    """Before its time nobody is asked."""
    rig = Rig(now=BEGIN + 59 * DAY_S)

    assert rig.renewal().look() == LOOK_S
    assert rig.asked == 0


def test_an_old_one_is_renewed_and_used_at_once() -> None:
    """After the renewal the link connects with the new pair."""
    rig = Rig(now=BEGIN + 65 * DAY_S)

    assert rig.renewal().look() == LOOK_S
    assert (rig.asked, rig.reconnected, rig.told) == (1, 1, [])


def test_a_failure_is_told_once_and_tried_ever_more_seldom() -> None:
    """The waits double up to six hours; a success starts over."""
    rig = Rig(now=BEGIN + 65 * DAY_S, answers=False)
    renewal = rig.renewal()

    waits = [renewal.look() for _ in range(14)]

    assert [error.code for error in rig.told] == ["AGENT-ENROL-006"]
    assert FIRST_WAIT_S / 2 <= waits[0] <= FIRST_WAIT_S
    assert LAST_WAIT_S / 2 <= waits[-1] <= LAST_WAIT_S
    rig.answers = True
    assert renewal.look() == LOOK_S
    rig.answers = False
    assert renewal.look() <= FIRST_WAIT_S
    assert len(rig.told) == 2


def test_without_a_clock_nothing_is_renewed() -> None:
    """In 1970 no certificate looks old, and in 2038 every one does: only one waits."""
    rig = Rig(now=0.0)

    assert rig.renewal().look() == LOOK_S
    assert rig.asked == 0

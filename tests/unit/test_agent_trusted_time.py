"""The clock matrix: what time counts when the system's clock is right or wrong."""

from dataclasses import dataclass

import pytest

from edge_agent.base.clock import EARLIEST_WALL, is_synchronised
from edge_agent.update.trusted_time import TOO_FAR_S, TrustedTime

DAY_S = 86_400.0
SIGNED = 1_790_000_000.0
"""The newest time that the hub signed."""
IN_2038 = 2.0**31


@dataclass
class Clock:
    """A system's clock, right or wrong, and one that never jumps."""

    at: float
    steady: float = 50.0

    def wall(self) -> float:
        """Return what the system says."""
        return self.at

    def mono(self) -> float:
        """Return steady seconds."""
        return self.steady


def time_of(at: float, *, floor_at: float = SIGNED, ntp: bool = False) -> TrustedTime:
    """Return the trusted time of a device whose clock says ``at``."""
    return TrustedTime(Clock(at), floor_at, lambda: ntp)


@pytest.mark.parametrize(
    ("at", "ntp", "expected", "is_trusted"),
    [
        (0.0, False, SIGNED, False),
        (0.0, True, SIGNED, False),
        (SIGNED - DAY_S, False, SIGNED, False),
        (SIGNED + DAY_S, False, SIGNED + DAY_S, True),
        (SIGNED + 400 * DAY_S, False, SIGNED + 400 * DAY_S, True),
        (SIGNED + 401 * DAY_S, False, SIGNED, False),
        (SIGNED + 401 * DAY_S, True, SIGNED + 401 * DAY_S, True),
        (IN_2038, False, SIGNED, False),
        (IN_2038, True, IN_2038, True),
    ],
    ids=[
        "1970",
        "1970 with NTP",
        "a day before",
        "right",
        "400 days later",
        "401 days later",
        "401 days later, NTP",
        "2038",
        "2038, NTP",
    ],
)
def test_the_clock_matrix(
    at: float, *, ntp: bool, expected: float, is_trusted: bool
) -> None:
    """A clock before the signed time, or far after it without NTP, does not count."""
    found = time_of(at, ntp=ntp)

    assert (found.now(), found.is_trusted) == (expected, is_trusted)


def test_a_device_that_never_heard_of_the_hub_believes_a_clock_that_can_be_right() -> (
    None
):
    """Without a signed time the agent's own age is all there is to judge it by."""
    for at in (EARLIEST_WALL, SIGNED, IN_2038):
        assert time_of(at, floor_at=0.0).now() == at
    for at in (0.0, EARLIEST_WALL - DAY_S):
        found = time_of(at, floor_at=0.0)
        assert (found.now(), found.is_trusted) == (EARLIEST_WALL, False)


def test_clocks_may_differ_a_little() -> None:
    """A device some seconds behind its hub is right, and time does not run back."""
    found = time_of(SIGNED - 10)

    assert (found.now(), found.is_trusted) == (SIGNED, True)
    assert not time_of(SIGNED - 301).is_trusted


def test_what_a_key_signed_is_forgotten_with_it() -> None:
    """Then the clock counts again, whatever time was signed."""
    found = time_of(SIGNED, floor_at=1e10)
    assert found.now() == 1e10

    found.forget()

    assert found.now() == SIGNED
    assert found.note(SIGNED + 10)


def test_time_goes_on_while_the_clock_is_wrong() -> None:
    """What has passed since the signed time was heard of is added to it."""
    clock = Clock(0.0)
    found = TrustedTime(clock, SIGNED, lambda: False)
    clock.steady += 5 * DAY_S

    assert found.now() == SIGNED + 5 * DAY_S


def test_a_device_that_runs_for_years_does_not_distrust_its_clock() -> None:
    """The distance is counted from where the steady clock is, not from the floor."""
    clock = Clock(SIGNED)
    found = TrustedTime(clock, SIGNED, lambda: False)
    clock.steady += 2 * TOO_FAR_S
    clock.at += 2 * TOO_FAR_S

    assert found.is_trusted


def test_only_a_newer_signed_time_counts() -> None:
    """The floor rises and never falls."""
    found = time_of(0.0)

    assert not found.note(SIGNED - 1)
    assert found.note(SIGNED + 10)
    assert found.now() == SIGNED + 10


def test_the_kernel_answers_whether_its_clock_is_kept() -> None:
    """Asking changes nothing and needs no privilege."""
    assert is_synchronised() in {True, False}

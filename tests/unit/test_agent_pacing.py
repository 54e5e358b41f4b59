"""The relay's pace: rate, hours, and a clock that cannot be right."""

import msgspec
import pytest

from edge_agent.config import RelayConfig
from edge_agent.link.pacing import (
    ALL_LANES,
    UNTRUSTED_WAIT_S,
    Moment,
    Pace,
    TokenBucket,
    decide_lanes,
    is_within,
)
from edge_agent.wire.topics import Lane

TRUE_WALL = 1_790_000_000.0
ALWAYS = frozenset({Lane.ALERT, Lane.STATE})
NIGHT = RelayConfig(bulk_windows=["22:00-06:00"])


def at(minute: int, *, wall: float = TRUE_WALL, metered: bool = False) -> Moment:
    """Return a moment of a process that has run for an hour."""
    return Moment(wall=wall, minute=minute, running_s=3600.0, metered=metered)


@pytest.mark.parametrize(
    ("window", "clock", "inside"),
    [
        ("22:00-06:00", "22:00", True),
        ("22:00-06:00", "23:59", True),
        ("22:00-06:00", "00:00", True),
        ("22:00-06:00", "05:59", True),
        ("22:00-06:00", "06:00", False),
        ("22:00-06:00", "21:59", False),
        ("01:30-02:00", "01:30", True),
        ("01:30-02:00", "02:00", False),
        ("00:00-24:00", "23:59", True),
        ("22:00-24:00", "00:00", False),
        ("22:00-00:00", "23:59", True),
        ("22:00-00:00", "00:00", False),
    ],
)
def test_a_window_holds_its_start_and_not_its_end(
    window: str, clock: str, *, inside: bool
) -> None:
    """Windows may go over midnight and end with the day."""
    hours, minutes = clock.split(":")

    assert is_within(window, 60 * int(hours) + int(minutes)) is inside


def test_bulk_waits_outside_the_windows() -> None:
    """Outside only the lanes that are always sent go; without windows all do."""
    assert decide_lanes(NIGHT, at(12 * 60)) == ALWAYS
    assert decide_lanes(NIGHT, at(23 * 60)) == ALL_LANES
    assert decide_lanes(RelayConfig(), at(12 * 60)) == ALL_LANES


def test_metered_outranks_the_windows() -> None:
    """Who says that the network is metered is believed at any hour."""
    assert decide_lanes(NIGHT, at(23 * 60, metered=True)) == ALWAYS
    assert decide_lanes(RelayConfig(), at(0, metered=True)) == ALWAYS
    assert decide_lanes(NIGHT, at(0, wall=9.0, metered=True)) == ALWAYS


def test_in_1970_bulk_waits_for_a_day_and_then_goes() -> None:
    """A clock that cannot be right opens no window, and holds nothing for ever."""
    late = Moment(wall=9.0, minute=0, running_s=UNTRUSTED_WAIT_S)

    assert decide_lanes(NIGHT, at(23 * 60, wall=82_800.0)) == ALWAYS
    assert decide_lanes(NIGHT, late) == ALL_LANES
    assert decide_lanes(RelayConfig(), at(0, wall=0.0)) == ALL_LANES


def test_the_bucket_pays_its_debt_before_it_sends_again() -> None:
    """A batch above the savings goes whole, and the next one waits for it."""
    bucket = TokenBucket(rate=100.0, burst=200.0)
    assert bucket.ready(0.0)
    bucket.take(500, 0.0)

    assert not bucket.ready(2.9)
    assert bucket.ready(3.1)
    assert bucket.ready(1000.0)
    assert bucket.tokens == 200.0


def test_a_clock_that_stands_still_earns_nothing() -> None:
    """Time that does not pass, or jumps back, gives no tokens."""
    bucket = TokenBucket(rate=100.0, burst=200.0)
    bucket.take(300, 10.0)

    assert not bucket.ready(10.0)
    assert not bucket.ready(5.0)
    assert bucket.tokens == -100.0


def test_alerts_never_wait_and_are_paid_by_the_others() -> None:
    """The rate holds lanes below the alerts, which is counted once a wait."""
    pace = Pace(RelayConfig(max_bytes_per_s=100))
    pace.charge(1000, 0.0)

    assert pace.may_send(Lane.ALERT, 0.0)
    assert not pace.may_send(Lane.STATE, 0.1)
    assert not pace.may_send(Lane.METRIC, 0.2)
    assert pace.waits == 1
    assert pace.may_send(Lane.STATE, 9.0)
    pace.charge(1000, 9.0)
    assert not pace.may_send(Lane.STATE, 9.0)
    assert pace.waits == 2


@pytest.mark.parametrize("window", ["06:00-06:00", "6-7", "25:00-26:00", "24:00-01:00"])
def test_a_window_that_means_nothing_is_refused(window: str) -> None:
    """Empty windows and hours that do not exist are errors of the configuration."""
    with pytest.raises(msgspec.ValidationError, match=r"window|pattern"):
        msgspec.convert({"bulk_windows": [window]}, RelayConfig)

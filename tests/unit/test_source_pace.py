"""The pace of a replayed sensor."""

from edge_agent.serve.sources.pace import MAX_LAG_S, Pace


class Hands:
    """A clock that is set by hand."""

    now = 100.0

    def wall(self) -> float:
        """Return the time."""
        return self.now

    def mono(self) -> float:
        """Return the time."""
        return self.now


def test_the_first_is_due_when_it_is_asked_for() -> None:
    """What happened before (a model that took its time to load) is not made up for."""
    clock = Hands()
    pace = Pace(clock)
    clock.now += MAX_LAG_S / 2
    waits = []
    for _ in range(5):
        waits.append(pace.wait_s(0.1))
        clock.now += waits[-1]
    assert [round(wait, 6) for wait in waits] == [0.0, 0.1, 0.1, 0.1, 0.1]


def test_a_short_delay_is_made_up_for_and_a_long_one_is_not() -> None:
    """The rate is kept over hiccups; after a standstill the sensor goes on from now."""
    clock = Hands()
    pace = Pace(clock)
    pace.wait_s(0.1)
    clock.now += 0.25
    assert [round(pace.wait_s(0.1), 6) for _ in range(3)] == [0.0, 0.0, 0.05]
    clock.now += 5 * MAX_LAG_S
    assert pace.wait_s(0.1) == 0.0
    assert round(pace.wait_s(0.1), 6) == 0.1

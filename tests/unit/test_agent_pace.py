"""The pace of a download: what is too slow, and when it makes a pause."""

from edge_agent.update.pace import TURN_S, WINDOW_BYTES, WINDOW_S, Pace


def test_a_byte_now_and_then_is_too_slow() -> None:
    """A timeout between bytes never sees it; the window does."""
    pace = Pace(0.0)

    verdicts = [pace.is_too_slow(1, float(second)) for second in range(1, 31)]

    assert verdicts == [False] * 29 + [True]


def test_a_slow_network_is_not() -> None:
    """A hundred bytes a second go on, window after window."""
    pace = Pace(0.0)

    assert not any(pace.is_too_slow(100, float(second)) for second in range(1, 301))


def test_each_window_counts_by_itself() -> None:
    """What came fast at first does not pay for what drips later."""
    pace = Pace(0.0)
    assert not pace.is_too_slow(1_000 * WINDOW_BYTES, WINDOW_S)

    assert not pace.is_too_slow(10, 2 * WINDOW_S - 0.1)
    assert pace.is_too_slow(10, 2 * WINDOW_S)


def test_a_long_download_makes_a_pause() -> None:
    """So that whoever watches the phase's deadline gets to see it."""
    pace = Pace(5.0)

    assert not pace.is_turn_over(5.0 + TURN_S)
    assert pace.is_turn_over(6.0 + TURN_S)

"""Reconnecting: at once after a loss, slowly in a fight for the device's name."""

from edge_agent.link.retries import FIGHT_SESSIONS, RETRY_FIRST_S, RETRY_MAX_S, Retries


def test_sessions_thrown_out_one_after_another_are_a_fight() -> None:
    """After a few of them each wait doubles, up to half a minute."""
    retries = Retries()
    waits = []
    for _ in range(20):
        retries.ended(min(0.1, retries.wait_s))
        waits.append(retries.wait_s)

    assert waits[: FIGHT_SESSIONS - 1] == [RETRY_FIRST_S] * (FIGHT_SESSIONS - 1)
    assert waits[FIGHT_SESSIONS] == 4 * RETRY_FIRST_S
    assert (waits[-1], retries.contested) == (RETRY_MAX_S, True)


def test_a_fight_goes_on_while_the_other_only_waits() -> None:
    """A session as long as the other's longest wait is no sign of peace, twice is."""
    retries = Retries()
    for _ in range(20):
        retries.ended(0.1)
    retries.ended(RETRY_MAX_S)
    assert retries.contested

    retries.ended(2 * RETRY_MAX_S)

    assert (retries.contested, retries.wait_s) == (False, RETRY_FIRST_S)


def test_a_broker_that_dies_often_is_no_fight() -> None:
    """Connections that fail in between tell a broken broker from a second device."""
    retries = Retries()
    for _ in range(20):
        retries.ended(0.1)
        retries.ended(0.1)
        retries.ended(None)

    assert not retries.contested

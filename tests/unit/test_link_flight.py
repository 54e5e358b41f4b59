"""What a connection knows of messages on their way."""

from edge_agent.link.mqtt import _Flight


def test_what_is_being_sent_counts_before_it_has_a_number() -> None:
    """A broker may end the session over a message that paho is still handing in."""
    flight = _Flight()
    assert flight.largest() is None
    flight.enter(1, "small", 10)
    with flight.offering("large", 9000):
        assert flight.largest() == ("large", 9000)
        flight.enter(2, "large", 9000)
    assert flight.largest() == ("large", 9000)
    with flight.offering("refused", 9001):
        pass
    assert flight.largest() == ("large", 9000)

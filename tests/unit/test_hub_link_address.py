"""Where the hub may connect to."""

import pytest

from edge_agent.base.loopback import is_loopback
from hub.config import BrokerConfig
from hub.errors import UnreachableError
from hub.link import HubLink


def make_link(config: BrokerConfig) -> HubLink:
    """Return a link that does nothing with what it gets."""
    return HubLink(
        config,
        on_batch=lambda _topic, _payload, _done: None,
        on_control=lambda _address, _payload: None,
        on_up=lambda: None,
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("192.0.2.1", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, *, expected: bool) -> None:
    """Names other than localhost are never taken for this machine."""
    assert is_loopback(host) is expected


def test_plaintext_to_another_machine_is_refused() -> None:
    """Without leave nothing is sent in plaintext over a network."""
    with pytest.raises(UnreachableError, match="HUB-LINK-001"):
        make_link(BrokerConfig(host="broker.example.org")).start()


def test_without_a_connection_nothing_is_published() -> None:
    """Publishing before the link is up says so instead of queueing without bound."""
    assert not make_link(BrokerConfig()).publish("t", b"x")

"""The twin's messages: what is decoded, what is dropped, and how often it is said."""

import logging

import pytest

from edge_agent.config import (
    AgentConfig,
    BrokerConfig,
    DeviceConfig,
    TlsConfig,
    TrustConfig,
)
from edge_agent.errors import LinkError
from edge_agent.link.birth import describe_device
from edge_agent.link.mqtt import refuse_plaintext
from edge_agent.link.twin import TWIN_BAD_MESSAGE, CommandReceived, Desired, Twin
from edge_agent.wire.codec import decode, encode
from edge_agent.wire.control import Ack, Presence, Reported, TufBundle
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.topics import HUB_TUF, Lane

BOOT = "0" * 16
ENVELOPE = Envelope(payload="{}", keyid="0" * 64, sig="00")
CONFIG = AgentConfig(
    device=DeviceConfig(id="d1", labels={"cohort": "left"}), trust=TrustConfig(root="r")
)


@pytest.fixture
def twin() -> Twin:
    """Return the twin of a device."""
    return Twin(describe_device(CONFIG, BOOT, 1.0))


def test_birth_and_death_are_of_one_boot(twin: Twin) -> None:
    """The last will speaks for this process only."""
    birth = decode(twin.birth(2.0), Presence)
    death = decode(twin.death(3.0), Presence)

    assert (birth.online, birth.boot, birth.labels) == (True, BOOT, {"cohort": "left"})
    assert (death.online, death.boot) == (False, BOOT)


def test_report_version_rises(twin: Twin) -> None:
    """Every report of a boot has a version of its own."""
    plain = Reported(device="d1", boot=BOOT, version=0, at=1.0, release=0)

    versions = [decode(twin.reported(plain), Reported).version for _ in range(3)]

    assert versions == [1, 2, 3]


def test_messages_by_topic(twin: Twin) -> None:
    """Each topic of the device has one kind of message."""
    ack = Ack(boot=BOOT, lane=Lane.METRIC, upto=3)
    bundle = TufBundle(files={"timestamp.json": "{}"})

    assert twin.decode(twin.ack_topic, encode(ack)) == ack
    assert twin.decode(HUB_TUF, encode(bundle)) == bundle
    desired = twin.decode(twin.desired_topic, encode(ENVELOPE))
    assert desired == Desired(envelope=ENVELOPE)
    command = twin.decode(twin.cmd_topic, encode(ENVELOPE))
    assert command == CommandReceived(envelope=ENVELOPE)
    assert twin.decode("shoal/v1/d2/ack", encode(ack)) is None


def test_bad_message_is_said_once(twin: Twin, caplog: pytest.LogCaptureFixture) -> None:
    """A retained bad message is dropped with every session, but logged once."""
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert twin.decode(twin.desired_topic, b"{nonsense") is None

    assert [r.getMessage() for r in caplog.records] == [TWIN_BAD_MESSAGE]


def test_cleared_message_is_nothing(
    twin: Twin, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty retained message is no message and no error."""
    assert twin.decode(twin.desired_topic, b"") is None
    assert caplog.records == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_plaintext_on_loopback(host: str) -> None:
    """This machine may be spoken to in the clear."""
    refuse_plaintext(BrokerConfig(host=host))


@pytest.mark.parametrize("host", ["10.0.0.7", "broker.example", "::2"])
def test_plaintext_over_a_network(host: str) -> None:
    """Another machine only where the configuration says so."""
    with pytest.raises(LinkError, match=r"AGENT-LINK-001"):
        refuse_plaintext(BrokerConfig(host=host))
    refuse_plaintext(BrokerConfig(host=host, allow_plaintext=True))
    refuse_plaintext(BrokerConfig(host=host, tls=TlsConfig(enabled=True)))

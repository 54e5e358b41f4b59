"""Which MQTT version comes next, the broker's limits, and what refusals mean."""

from types import SimpleNamespace

import pytest

from edge_agent.base.mqtt_version import (
    CLOSED_TRIES,
    Answer,
    Limits,
    VersionChoice,
    VersionSetting,
    read_limits,
)
from edge_agent.link.port import Refused
from edge_agent.link.refusal import explain


def test_a_refused_version_is_followed_by_the_older_one_for_good() -> None:
    """Once 3.1.1 was accepted, no lost connection brings 5 back."""
    choice = VersionChoice("auto")
    first = choice.version
    choice.note(Answer.WRONG_VERSION)
    choice.note(Answer.ACCEPTED)
    for _ in range(10):
        choice.note(Answer.NONE)

    assert (first, choice.version) == ("5", "3.1.1")


def test_only_a_broker_that_closes_again_is_tried_with_the_older_version() -> None:
    """One close may be a broker that dies; any answer starts the count anew."""
    choice = VersionChoice("auto")
    for answer in [Answer.NONE, Answer.ACCEPTED, Answer.NONE, Answer.REFUSED]:
        choice.note(answer)
    before = choice.version
    for _ in range(CLOSED_TRIES):
        choice.note(Answer.NONE)

    assert (before, choice.version) == ("5", "3.1.1")


def test_a_broker_that_refuses_both_is_tried_with_both() -> None:
    """What was never accepted is not stayed with."""
    choice = VersionChoice("auto")
    seen = []
    for _ in range(4):
        choice.note(Answer.WRONG_VERSION)
        seen.append(choice.version)

    assert seen == ["3.1.1", "5", "3.1.1", "5"]


@pytest.mark.parametrize("setting", ["5", "3.1.1"])
def test_a_configured_version_is_never_left(setting: VersionSetting) -> None:
    """Whatever the broker says, the setting holds."""
    choice = VersionChoice(setting)
    for _ in range(5):
        choice.note(Answer.WRONG_VERSION)
        choice.note(Answer.NONE)

    assert choice.version == setting


def test_limits_come_from_the_connack() -> None:
    """What a broker does not say is unlimited, or 65535 as the standard has it."""
    told = SimpleNamespace(ReceiveMaximum=20, MaximumPacketSize=1000)

    assert read_limits(told) == Limits(receive_maximum=20, packet_bytes=1000)
    assert read_limits(None) == Limits(receive_maximum=65_535, packet_bytes=0)
    assert Limits().fits("t", bytes(1 << 20))
    assert Limits(packet_bytes=1000).fits("t", bytes(900))
    assert not Limits(packet_bytes=1000).fits("t", bytes(990))


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (0x87, "AGENT-LINK-002"),
        (0x97, "AGENT-LINK-003"),
        (0x95, "AGENT-LINK-004"),
        (0x80, "AGENT-LINK-005"),
    ],
)
def test_every_refusal_has_a_code_and_a_cure(number: int, code: str) -> None:
    """The text names the topic and the broker's reason."""
    refused = Refused(topic="a/b", number=number, reason="Because", size_bytes=7)
    facts = explain(refused).facts()

    assert facts["code"] == code
    assert "a/b" in facts["error"]
    assert "Because" in facts["error"]
    assert facts["cure"]

"""Control messages: tolerant of new fields, strict about everything else."""

import msgspec
import pytest

from edge_agent.wire.codec import decode, encode
from edge_agent.wire.control import Ack, Presence
from edge_agent.wire.errors import WireError
from edge_agent.wire.topics import Lane

ACK = Ack(boot="0" * 16, lane=Lane.METRIC, upto=3)


def test_a_field_that_is_not_known_yet_is_ignored() -> None:
    """A newer peer may add optional fields."""
    data = msgspec.json.encode({**msgspec.to_builtins(ACK), "later": 1})

    assert decode(data, Ack) == ACK


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"boot":"x","lane":"metric","upto":1}',
        b'{"boot":"\xff"}',
        b'{"later":' + b"[" * 100_000,
    ],
)
def test_what_is_no_such_message_is_refused(data: bytes) -> None:
    """Refused with a code, never with a foreign exception."""
    with pytest.raises(WireError, match="WIRE-CODEC-002"):
        decode(data, Ack)


def test_size_is_checked_before_decoding() -> None:
    """A message over the limit is not looked at."""
    with pytest.raises(WireError, match="WIRE-CODEC-001"):
        decode(encode(ACK), Ack, limit=10)


def test_a_device_id_that_would_break_a_topic_is_refused() -> None:
    """Bounds on fields hold in messages as they do in topics."""
    presence = {"device": "a/b", "boot": "0" * 16, "online": True, "at": 1.0}

    with pytest.raises(WireError):
        decode(msgspec.json.encode(presence), Presence)

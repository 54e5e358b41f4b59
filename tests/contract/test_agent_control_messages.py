"""Every control message of a device survives a round trip and tolerates new fields."""

import msgspec
import pytest

from edge_agent.wire.codec import decode, encode
from edge_agent.wire.control import (
    Ack,
    Assignment,
    CollectSamples,
    Command,
    Presence,
    ProbationPolicy,
    Reported,
    StopCollecting,
    TufBundle,
    TufVersions,
)
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.topics import Lane

BOOT = "0123456789abcdef"
MESSAGES: list[msgspec.Struct] = [
    Presence(
        device="d1",
        boot=BOOT,
        online=True,
        at=1.5,
        labels={"cohort": "left"},
        capabilities=["resume"],
    ),
    Reported(
        device="d1",
        boot=BOOT,
        version=3,
        at=1.5,
        release=2,
        sha256="0" * 64,
        previous=1,
        phase="PROBATION",
        assignment_seq=7,
        tuf=TufVersions(root=1, timestamp=2, snapshot=2, targets=2),
        quarantined=[4],
    ),
    Assignment(
        device="d1",
        seq=7,
        release=2,
        target="models/watch/2/release.json",
        rollout="r2",
        issued_at=1.5,
        artifacts_url="http://127.0.0.1:8080",
        probation=ProbationPolicy(min_predictions=5),
    ),
    Command(
        device="d1",
        id=1,
        expires_at=9.0,
        action=CollectSamples(max_samples=5, reason="drift"),
    ),
    Command(device="d1", id=2, expires_at=9.0, action=StopCollecting()),
    Ack(boot=BOOT, lane=Lane.ALERT, upto=12, gap=True),
    TufBundle(files={"1.root.json": "{}", "timestamp.json": "{}"}),
    Envelope(payload="{}", keyid="0" * 64, sig="00ff"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_round_trip(message: msgspec.Struct) -> None:
    """What is decoded is what was encoded."""
    assert decode(encode(message), type(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_new_fields_are_tolerated(message: msgspec.Struct) -> None:
    """A field of a newer peer is ignored."""
    document = msgspec.json.decode(encode(message))
    document["field_of_tomorrow"] = [1]

    assert decode(msgspec.json.encode(document), type(message)) == message

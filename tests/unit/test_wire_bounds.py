"""What a record may mean: lists that belong together, figures that can be added up."""

from typing import Any

import pytest

from edge_agent.wire.batch import (
    BatchHeader,
    decode_batch,
    decode_record,
    encode_batch,
    encode_record,
)
from edge_agent.wire.errors import WireError
from edge_agent.wire.profile import ChannelMoments, ProfileData
from edge_agent.wire.records import AnyRecord, ProfileRecord, SampleRecord
from edge_agent.wire.topics import Lane

GOOD = {"n": 600, "mean": 0.5, "m2": 1.0, "low": 0.0, "high": 1.0}


def profile(moments: list[dict[str, Any]]) -> ProfileRecord:
    """Make a window of 600 rows and two channels."""
    return ProfileRecord(
        at=1.0,
        release=1,
        reference="a" * 64,
        window_start_at=0.0,
        window_end_at=1.0,
        profile=ProfileData(
            rows=600,
            counts=[[300, 300], [600, 0]],
            moments=[ChannelMoments(**one) for one in moments],
        ),
    )


def sample(shape: list[int], data: bytes) -> SampleRecord:
    """Make a sample of a shape."""
    return SampleRecord(
        at=1.0,
        sample_id="s",
        release=1,
        consent="c",
        label="a",
        predicted="a",
        shape=shape,
        data=data,
    )


BAD: dict[str, AnyRecord] = {
    "three entries of moments for two channels": profile([GOOD] * 3),
    "a negative sum of squares": profile([GOOD, GOOD | {"m2": -1.0}]),
    "a mean of 1e308": profile([GOOD, GOOD | {"mean": 1e308}]),
    "a mean of -1e308": profile([GOOD, GOOD | {"mean": -1e308}]),
    "2**53 of 600 rows": profile([GOOD, GOOD | {"n": 2**53}]),
    "a product that wraps": sample([16777232, 1099510579201], b"\0" * 1024),
    "bytes for another shape": sample([2], b"\0" * 4),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_at_the_door(name: str) -> None:
    """A record whose figures contradict each other is refused, alone and in a batch."""
    body = encode_record(BAD[name])
    header = BatchHeader(
        boot="0" * 16, lane=Lane.METRIC, base=0, lo=1, hi=1, wall_at=1.0, mono_s=1.0
    )

    with pytest.raises(WireError, match="WIRE-RECORD-002"):
        decode_record(body)
    with pytest.raises(WireError, match="WIRE-BATCH-005"):
        decode_batch(encode_batch(header, [(1, body)]))


@pytest.mark.parametrize("record", [profile([GOOD, GOOD]), profile([])])
def test_an_honest_window_passes(record: AnyRecord) -> None:
    """A window passes with its moments, and without (older agents send none)."""
    assert decode_record(encode_record(record)) == record

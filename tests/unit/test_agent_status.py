"""What `edge-agent status` and the twin say of the worker's own words."""

import msgspec
from msgspec import UNSET

from edge_agent.heartbeat import MAX_ADDRESS, tell_of_worker
from edge_agent.serve.protocol import SheddingReply, StatsReply
from edge_agent.status import Status
from edge_agent.wire.control import Obstacle, Reported

STATUS = Status(
    device="d1",
    running=True,
    link="up",
    mqtt="5",
    answering=1,
    sha256="ab" * 32,
    active=1,
    previous=0,
    candidate=0,
    phase="IDLE",
    assignment_seq=1,
    pinned=False,
    quarantined=(),
    code="",
    detail="",
    bulk_waits=False,
    rate_waits=0,
    pending={},
    evicted={},
    sources=[],
    sinks=[],
    obstacle=None,
    shedding=SheddingReply(),
    evidence=None,
    api=[],
)
TWIN = Reported(device="d1", boot="0" * 16, version=0, at=1.0, release=1)


def test_status_says_what_is_left_out_and_what_is_waited_for() -> None:
    """In words, with the readings and counts; nothing is also said."""
    plain = STATUS.lines()
    assert "leaves out   nothing (no readings)" in plain
    assert not [line for line in plain if line.startswith("waits for")]
    hot = msgspec.structs.replace(
        STATUS,
        obstacle=Obstacle(code="AGENT-UPDATE-011", text="metadata has expired"),
        shedding=SheddingReply(
            level="bulk", left_out={"shadow": 7}, celsius=81.4, throttled_ratio=0.3
        ),
        api=["http://127.0.0.1:8080"],
    ).lines()
    assert (
        "leaves out   the shadow and files (81 degrees, held back in 30% of periods);"
        " 7 shadow so far"
    ) in hot
    assert "waits for    AGENT-UPDATE-011: metadata has expired" in hot
    assert "api          http://127.0.0.1:8080" in hot
    stopped = msgspec.structs.replace(STATUS, running=False).lines()
    assert not [line for line in stopped if line.startswith("leaves out")]


def test_the_twin_tells_what_the_worker_said() -> None:
    """The level and the addresses; a worker that says nothing leaves them out."""
    assert tell_of_worker(TWIN, StatsReply()) == TWIN
    stats = StatsReply(
        shedding=SheddingReply(level="samples"), api=["unix:///" + "a" * 2000]
    )
    told = tell_of_worker(TWIN, stats)
    assert told.shedding == "samples"
    assert told.api is not UNSET
    assert [len(address) for address in told.api] == [MAX_ADDRESS]

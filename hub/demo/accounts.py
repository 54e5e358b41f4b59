"""Accounting: every record that the devices committed has arrived, and none twice.

The devices go on producing while they are counted. So the count is taken up to a
position: what each stream had produced at one moment, by the device's own database.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec

from edge_agent.wire.types import Message
from hub.demo import figures as read
from hub.demo.fleet import Wearer
from hub.demo.stage import Stage, run


class Records(Message, frozen=True, kw_only=True):
    """Records produced by the devices and received by the hub.

    ``duplicates`` counts records in the hub's tables that tell a thing twice;
    ``redelivered`` those that came again and were ignored.
    """

    produced: int = 0
    received: int = 0
    duplicates: int = 0
    redelivered: int = 0
    evicted: int = 0


class _Stream(Message, frozen=True, kw_only=True):
    boot: str
    lane: str
    last_seq: int
    evicted: int


class _OutboxStats(Message, frozen=True, kw_only=True):
    """What the demo reads of ``edge-agent outbox stats --json``."""

    streams: list[_Stream]


def _outbox_stats(wearer: Wearer) -> _OutboxStats:
    agent = [sys.executable, "-m", "edge_agent", "outbox", "stats", "--json"]
    text = run([*agent, "--config", str(wearer.config)])
    return msgspec.json.decode(text, type=_OutboxStats)


def count_records(stage: Stage) -> Records:
    """Wait until the hub has what the devices have produced by now, then count.

    Raises:
        WaitTimeoutError: Records are still missing after 30 seconds.
    """
    upto: dict[read.Position, int] = {}
    evicted = 0
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="accounts") as pool:
        stats = list(pool.map(_outbox_stats, stage.wearers))
    for wearer, found in zip(stage.wearers, stats, strict=True):
        for stream in found.streams:
            upto[wearer.device, stream.boot, stream.lane] = stream.last_seq
            evicted += stream.evicted
    produced = sum(upto.values())
    stage.wait(
        lambda: read.received(stage.engine, upto) >= produced - evicted,
        f"{produced} records to arrive",
        timeout_s=30,
        explain=lambda: f"{read.received(stage.engine, upto)} arrived",
    )
    return Records(
        produced=produced,
        received=read.received(stage.engine, upto),
        duplicates=read.duplicates(stage.engine),
        redelivered=read.redelivered(stage.engine),
        evicted=evicted,
    )

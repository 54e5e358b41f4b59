"""Bytes of batches against plain JSON, on the demo's real records."""

from pathlib import Path

from edge_agent.link.relay import MAX_RECORDS
from edge_agent.wire.batch import BatchHeader, encode_batch
from edge_agent.wire.topics import Lane
from tests.perf.recorded import read_recorded
from tests.perf.report import Metric


def measure(_: Path) -> list[Metric]:
    """Return the share of plain JSON that is sent, over all lanes and by lane."""
    lanes = read_recorded()
    plain = {lane: sum(map(len, bodies)) for lane, bodies in lanes.items()}
    sent = {lane: _sent_bytes(lane, bodies) for lane, bodies in lanes.items()}
    metrics = [
        Metric(
            name="wire_bytes",
            value=sum(sent.values()) / sum(plain.values()),
            unit="of plain JSON",
            at_most=1 / 3,
        )
    ]
    metrics += [
        Metric(
            name=f"wire_bytes_{lane}",
            value=sent[lane] / plain[lane],
            unit="of plain JSON",
        )
        for lane in lanes
    ]
    return metrics


def _sent_bytes(lane: Lane, bodies: list[bytes]) -> int:
    """Return the bytes of the batches that the relay makes of a backlog."""
    total = 0
    for start in range(0, len(bodies), MAX_RECORDS):
        rows = list(enumerate(bodies[start : start + MAX_RECORDS], start=start + 1))
        header = BatchHeader(
            boot="0123456789abcdef",
            lane=lane,
            base=start,
            lo=rows[0][0],
            hi=rows[-1][0],
            wall_at=1795390410.25,
            mono_s=1234.5,
        )
        total += len(encode_batch(header, rows))
    return total

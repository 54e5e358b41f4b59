"""The watermark rule: how far a stream is complete, from the batches that came.

A stream is ``(device, boot, lane)`` with sequence numbers from 1. ``watermark`` ``w``
means: every record up to ``w`` is either committed here or gone from the device for
good (evicted there, and counted). The device deletes what is acknowledged, so ``w``
must never pass a record that only the device has: a batch may move it only when it
touches it. Pure; ``hub/ingest/writer.py`` calls it inside its transaction.
"""

from dataclasses import dataclass

from edge_agent.wire.batch import BatchHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """The new watermark, and whether records below ``lo`` are missing."""

    watermark: int
    gap: bool


def advance(watermark: int, header: BatchHeader) -> Advance:
    """Apply the rows ``lo..hi`` of a batch to a stream's watermark.

    ``base`` is the highest number that the device will never send again. A batch
    without rows (``hi < lo``) tells only its base.
    """
    reached = max(watermark, header.base)
    if header.hi < header.lo:
        return Advance(watermark=reached, gap=False)
    if header.lo > reached + 1:
        return Advance(watermark=reached, gap=True)
    return Advance(watermark=max(reached, header.hi), gap=False)

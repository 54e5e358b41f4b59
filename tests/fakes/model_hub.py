"""The hub's side of the acknowledgement protocol, as small as it can be."""

from collections import defaultdict

from edge_agent.wire.batch import Batch
from edge_agent.wire.control import Ack
from edge_agent.wire.records import AnyRecord
from edge_agent.wire.topics import Lane


class ModelHub:
    """Keeps records once each, and one watermark a stream."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.rows: dict[tuple[str, Lane], dict[int, AnyRecord]] = defaultdict(dict)
        self.watermarks: dict[tuple[str, Lane], int] = defaultdict(int)

    def take(self, batch: Batch) -> Ack:
        """Store a batch and answer as the protocol says."""
        header = batch.header
        key = (header.boot, header.lane)
        for seq, record in batch.rows:
            self.rows[key].setdefault(seq, record)
        mark = max(self.watermarks[key], header.base)
        gap = bool(batch.rows) and header.lo > mark + 1
        if batch.rows and not gap:
            mark = max(mark, header.hi)
        self.watermarks[key] = mark
        return Ack(
            boot=header.boot, lane=header.lane, upto=mark, gap=gap, ask=header.ask
        )

    def records(self, lane: Lane) -> list[AnyRecord]:
        """Return a lane's records of all boots, in order within each boot."""
        return [
            rows[seq]
            for (_, of), rows in self.rows.items()
            if of is lane
            for seq in sorted(rows)
        ]

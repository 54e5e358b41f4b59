"""Records put into a hub's database the way that batches bring them."""

from sqlalchemy import Connection

from edge_agent.wire.batch import Batch, BatchHeader, Rows
from hub.ingest.batches import Arrived, store_batches
from hub.storage.streams import StreamKey


def plant(connection: Connection, key: StreamKey, rows: Rows, at: float) -> None:
    """Store rows of a stream as one batch received ``at``."""
    header = BatchHeader(
        boot=key.boot,
        lane=key.lane,
        base=0,
        lo=rows[0][0],
        hi=rows[-1][0],
        wall_at=at,
        mono_s=1.0,
    )
    batch = Batch(header=header, rows=rows)
    store_batches(connection, [Arrived(key=key, batch=batch)], at=at)

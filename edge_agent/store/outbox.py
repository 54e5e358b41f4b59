"""The outbox: records wait here until the hub says that it has committed them.

Invariants, for each stream ``(boot, lane)``: sequence numbers start at 1 and are
contiguous; what is held is one unbroken run that ends at ``last_seq``; only its oldest
end is ever removed, by acknowledgement or by eviction when the lane's byte budget is
full (which is counted). A boot id is never used again, so no number is either.

Worker and supervisor append at once, each through its own instance (one a thread).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config import OutboxConfig
from edge_agent.store.db import mapped_errors, open_db, transaction
from edge_agent.wire.batch import encode_record
from edge_agent.wire.records import LANE_OF, AnyRecord
from edge_agent.wire.topics import Lane

DURABLE_LANES = frozenset({Lane.ALERT, Lane.STATE})
LANE_ORDER = tuple(Lane)
_LOWEST = "(SELECT MIN(seq) FROM outbox WHERE stream = streams.id)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A stream that holds records: ``lowest..last_seq``."""

    boot: str
    lane: Lane
    lowest: int
    last_seq: int
    evicted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """How far a stream has come: records ``1..last_seq`` were committed."""

    boot: str
    lane: Lane
    last_seq: int
    evicted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStats:
    """A lane's figures over all boots that the database remembers."""

    pending: int = 0
    pending_bytes: int = 0
    evicted: int = 0
    produced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One record that waits; ``body`` is its JSON."""

    boot: str
    lane: Lane
    seq: int
    body: bytes


class Outbox:
    """The outbox of one boot, as seen by one thread."""

    def __init__(self, path: Path, boot: str, config: OutboxConfig) -> None:
        """Open the outbox in the database ``path`` for records of ``boot``.

        Raises:
            StoreError: The database cannot be opened.
        """
        self._path = path
        self._boot = boot
        self._config = config
        self._conn = open_db(path)

    @property
    def boot(self) -> str:
        """The boot that this instance appends for."""
        return self._boot

    def append(self, records: Sequence[AnyRecord]) -> None:
        """Commit records in one transaction; each gets the next number of its lane.

        Alert and state records are on disk when this returns.

        Raises:
            StoreError: They could not be committed; none of them was.
        """
        if not records:
            return
        durable = any(LANE_OF[type(r)] in DURABLE_LANES for r in records)
        with mapped_errors(self._path), transaction(self._conn, durable=durable):
            insert_records(self._conn, self._boot, self._config, records)

    def streams(self) -> list[Stream]:
        """Return the streams that hold records: by lane, then the oldest boot first.

        Raises:
            StoreError: The database cannot be read.
        """
        with mapped_errors(self._path):
            rows = self._conn.execute(
                f"SELECT boot, lane, {_LOWEST}, last_seq, evicted FROM streams"
                f" WHERE {_LOWEST} IS NOT NULL ORDER BY id"
            ).fetchall()
        held = [
            Stream(boot=b, lane=Lane(n), lowest=low, last_seq=last, evicted=gone)
            for b, n, low, last, gone in rows
        ]
        return sorted(held, key=lambda stream: LANE_ORDER.index(stream.lane))

    def read(
        self, boot: str, lane: Lane, after: int, *, max_records: int, max_bytes: int
    ) -> list[tuple[int, bytes]]:
        """Return a contiguous run of records above ``after``, at least one if any.

        Raises:
            StoreError: The database cannot be read.
        """
        run: list[tuple[int, bytes]] = []
        size = 0
        with mapped_errors(self._path):
            rows = self._conn.execute(
                "SELECT o.seq, o.body FROM outbox o JOIN streams s ON s.id = o.stream"
                " WHERE s.boot = ? AND s.lane = ? AND o.seq > ?"
                " ORDER BY o.seq LIMIT ?",
                (boot, lane.value, after, max_records),
            )
            for seq, body in rows:
                size += len(body)
                if run and size > max_bytes:
                    break
                run.append((seq, body))
            rows.close()
        return run

    def delete_upto(self, boot: str, lane: Lane, upto: int) -> int:
        """Delete what is acknowledged; return how many records that were.

        Raises:
            StoreError: The database cannot be written; nothing was deleted.
        """
        with mapped_errors(self._path), transaction(self._conn, durable=False):
            row = self._conn.execute(
                "SELECT id FROM streams WHERE boot = ? AND lane = ?",
                (boot, lane.value),
            ).fetchone()
            return 0 if row is None else _delete(self._conn, row[0], upto)[0]

    def held(self) -> Iterator[Held]:
        """Yield every record that waits, stream by stream, as of one moment.

        Raises:
            StoreError: The database cannot be read.
        """
        with mapped_errors(self._path):
            # One statement reads one snapshot, whatever is deleted meanwhile.
            rows = self._conn.execute(
                "SELECT s.boot, s.lane, o.seq, o.body"
                " FROM streams s JOIN outbox o ON o.stream = s.id"
                " ORDER BY s.id, o.seq"
            )
            for boot, lane, seq, body in rows:
                yield Held(boot=boot, lane=Lane(lane), seq=seq, body=body)

    def purge(self, lane: Lane) -> tuple[int, int]:
        """Evict all that a lane holds; return how many records and bytes that were.

        To everybody else this is an eviction as :meth:`append` makes them, so it is
        safe beside a worker that appends and a relay that sends: numbers go on, the
        next batch tells a higher base, and the hub finds no gap.

        Raises:
            StoreError: The database cannot be written; nothing was deleted.
        """
        with mapped_errors(self._path), transaction(self._conn, durable=True):
            streams = self._conn.execute(
                "SELECT id, last_seq FROM streams WHERE lane = ?", (lane.value,)
            ).fetchall()
            gone = [_evict_upto(self._conn, *stream) for stream in streams]
        return sum(count for count, _ in gone), sum(size for _, size in gone)

    def produced(self) -> list[Produced]:
        """Return how far every stream has come, sent or not, in order of creation.

        Raises:
            StoreError: The database cannot be read.
        """
        with mapped_errors(self._path):
            rows = self._conn.execute(
                "SELECT boot, lane, last_seq, evicted FROM streams ORDER BY id"
            ).fetchall()
        return [
            Produced(boot=boot, lane=Lane(lane), last_seq=last, evicted=gone)
            for boot, lane, last, gone in rows
        ]

    def stats(self) -> dict[Lane, LaneStats]:
        """Return every lane's figures.

        Raises:
            StoreError: The database cannot be read.
        """
        stats = dict.fromkeys(LANE_ORDER, LaneStats())
        with mapped_errors(self._path):
            rows = self._conn.execute(
                f"SELECT lane, SUM(COALESCE(last_seq - {_LOWEST} + 1, 0)), SUM(bytes),"
                " SUM(evicted), SUM(last_seq) FROM streams GROUP BY lane"
            ).fetchall()
        for lane, pending, held, evicted, produced in rows:
            stats[Lane(lane)] = LaneStats(
                pending=pending,
                pending_bytes=held,
                evicted=evicted,
                produced=produced,
            )
        return stats

    def close(self) -> None:
        """Close the connection."""
        self._conn.close()


def insert_records(
    conn: sqlite3.Connection,
    boot: str,
    config: OutboxConfig,
    records: Sequence[AnyRecord],
) -> None:
    """Number and insert records inside the caller's transaction, then evict.

    This is how a change of state and its report get into one transaction.
    """
    lanes: dict[Lane, list[bytes]] = {}
    for record in records:
        lanes.setdefault(LANE_OF[type(record)], []).append(encode_record(record))
    for lane, bodies in lanes.items():
        _insert(conn, boot, lane, bodies)
        _evict(conn, lane, config.budget(lane))


def _insert(
    conn: sqlite3.Connection, boot: str, lane: Lane, bodies: list[bytes]
) -> None:
    conn.execute(
        "INSERT OR IGNORE INTO streams (boot, lane) VALUES (?, ?)", (boot, lane.value)
    )
    stream, last = conn.execute(
        "SELECT id, last_seq FROM streams WHERE boot = ? AND lane = ?",
        (boot, lane.value),
    ).fetchone()
    conn.executemany(
        "INSERT INTO outbox (stream, seq, bytes, body) VALUES (?, ?, ?, ?)",
        [
            (stream, seq, len(body), body)
            for seq, body in enumerate(bodies, start=last + 1)
        ],
    )
    conn.execute(
        "UPDATE streams SET last_seq = last_seq + ?, bytes = bytes + ? WHERE id = ?",
        (len(bodies), sum(map(len, bodies)), stream),
    )


def _evict(conn: sqlite3.Connection, lane: Lane, budget: int) -> None:
    held = conn.execute(
        "SELECT id, bytes FROM streams WHERE lane = ? AND bytes > 0 ORDER BY id",
        (lane.value,),
    ).fetchall()
    excess = sum(size for _, size in held) - budget
    for stream, _ in held:
        if excess <= 0:
            return
        upto, found = 0, 0
        rows = conn.execute(
            "SELECT seq, bytes FROM outbox WHERE stream = ? ORDER BY seq", (stream,)
        )
        for seq, size in rows:
            upto, found = seq, found + size
            if found >= excess:
                break
        rows.close()
        excess -= _evict_upto(conn, stream, upto)[1]


def _evict_upto(conn: sqlite3.Connection, stream: int, upto: int) -> tuple[int, int]:
    count, size = _delete(conn, stream, upto)
    conn.execute(
        "UPDATE streams SET evicted = evicted + ? WHERE id = ?", (count, stream)
    )
    return count, size


def _delete(conn: sqlite3.Connection, stream: int, upto: int) -> tuple[int, int]:
    count, size = conn.execute(
        "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM outbox"
        " WHERE stream = ? AND seq <= ?",
        (stream, upto),
    ).fetchone()
    if count:
        conn.execute("DELETE FROM outbox WHERE stream = ? AND seq <= ?", (stream, upto))
        conn.execute(
            "UPDATE streams SET bytes = bytes - ? WHERE id = ?", (size, stream)
        )
    return count, size

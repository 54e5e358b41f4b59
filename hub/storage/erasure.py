"""Erasing a device from the database: its rows, and its id in everybody else's.

Every table with a column ``device`` is swept, so one that is added later is too. Rows
go a chunk a transaction, so that ingest never waits long; who dies in between erases
the rest at the next run. SQLite overwrites what is freed (``secure_delete``) and its
write-ahead log is emptied afterwards. What earlier deletions left in free pages is
there until ``VACUUM``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    delete,
    func,
    or_,
    select,
    update,
)

from edge_agent.wire.version import TOPIC_PREFIX
from hub.storage.db import transaction
from hub.storage.erasure_texts import erase_alerts, erase_rollouts, erase_texts
from hub.storage.identity import PSEUDONYM
from hub.storage.tables import (
    CERTIFICATES,
    DEVICES,
    ENROL_TOKENS,
    FEEDBACK,
    JOBS,
    METADATA,
    POISON,
    RECORDS,
    STREAMS,
)
from hub.storage.tombstones import digest_of

CHUNK = 2000
_WAIT_MS = 1000


def is_known(conn: Connection, device: str) -> bool:
    """Tell whether the database holds anything by which a device is known."""
    found = (
        select(DEVICES.c.id).where(DEVICES.c.id == device),
        select(ENROL_TOKENS.c.device).where(ENROL_TOKENS.c.device == device),
        select(CERTIFICATES.c.device).where(CERTIFICATES.c.device == device),
        select(STREAMS.c.device).where(STREAMS.c.device == device),
        select(POISON.c.topic).where(_is_from(device)),
    )
    return any(conn.execute(one.limit(1)).first() is not None for one in found)


def erase(engine: Engine, device: str, at: float) -> int:
    """Erase a device; return how many rows were deleted or changed.

    Its certificates stay as revoked numbers without its name.
    """
    streams = select(STREAMS.c.id).where(STREAMS.c.device == device)
    rows = _erase_chunks(engine, RECORDS, RECORDS.c.stream.in_(streams))
    rows += _erase_chunks(engine, FEEDBACK, FEEDBACK.c.device == device)
    with erasing(engine) as conn:
        rows += _erase_tables(conn, device)
        rows += _revoke(conn, device, at)
        rows += erase_alerts(conn, device)
        rows += erase_rollouts(conn, device)
        rows += erase_texts(conn, JOBS, device, ("reason", "error"))
    return rows


def settle(engine: Engine) -> None:
    """Empty the write-ahead log, where the old content of pages still is.

    Readers can keep it from that; the next checkpoint does it then.
    """
    if engine.dialect.name != "sqlite":
        return
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("PRAGMA busy_timeout")
        (before,) = cursor.fetchone() or (0,)
        cursor.execute(f"PRAGMA busy_timeout={_WAIT_MS}")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.fetchall()
        cursor.execute(f"PRAGMA busy_timeout={before}")
        cursor.close()
    finally:
        raw.close()


@contextmanager
def erasing(engine: Engine) -> Iterator[Connection]:
    """Open a write transaction in which SQLite overwrites what is deleted."""
    with transaction(engine) as conn:
        if conn.dialect.name != "sqlite":
            yield conn
            return
        before = conn.exec_driver_sql("PRAGMA secure_delete").scalar()
        conn.exec_driver_sql("PRAGMA secure_delete=1").all()
        try:
            yield conn
        finally:
            conn.exec_driver_sql(f"PRAGMA secure_delete={before}").all()


def _erase_chunks(engine: Engine, table: Table, mine: ColumnElement[bool]) -> int:
    rows = 0
    while True:
        with erasing(engine) as conn:
            some = list(conn.scalars(select(table.c.id).where(mine).limit(CHUNK)))
            conn.execute(delete(table).where(table.c.id.in_(some)))
        rows += len(some)
        if len(some) < CHUNK:
            return rows


def _erase_tables(conn: Connection, device: str) -> int:
    """Delete a device's rows of all tables that have any, but its certificates."""
    rows = 0
    for table in METADATA.sorted_tables:
        if "device" in table.c and table is not CERTIFICATES:
            rows += conn.execute(delete(table).where(table.c.device == device)).rowcount
    rows += conn.execute(delete(POISON).where(_is_from(device))).rowcount
    return rows + conn.execute(delete(DEVICES).where(DEVICES.c.id == device)).rowcount


def _is_from(device: str) -> ColumnElement[bool]:
    topic = f"{TOPIC_PREFIX}/{device}"
    under = POISON.c.topic.startswith(f"{topic}/", autoescape=True)
    return or_(POISON.c.topic == topic, under)


def pseudonym_of(device: str) -> str:
    """Return under what name the certificates of an erased device are kept."""
    return f"{PSEUDONYM}{digest_of(device)[:63]}"


def _revoke(conn: Connection, device: str, at: float) -> int:
    """Keep the numbers of certificates, for the list of revocations."""
    return conn.execute(
        update(CERTIFICATES)
        .where(CERTIFICATES.c.device == device)
        .values(
            device=pseudonym_of(device),
            revoked_at=func.coalesce(CERTIFICATES.c.revoked_at, at),
        )
    ).rowcount

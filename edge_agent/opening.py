"""What an agent opens at its start: the root of trust, the database, the slot row."""

import logging
import sqlite3
from pathlib import Path

from edge_agent.base.clock import Clock
from edge_agent.config import OutboxConfig
from edge_agent.errors import AgentError
from edge_agent.store.db import (
    DAMAGED,
    mapped_errors,
    mark_told,
    open_or_set_aside,
    transaction,
    untold_asides,
)
from edge_agent.store.outbox import insert_records
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.wire.records import EventRecord

DATABASE_SET_ASIDE = "store.set_aside"

log = logging.getLogger(__name__)


def read_root(path: Path) -> bytes:
    """Read the provisioned root of trust.

    Raises:
        AgentError: It cannot be read (AGENT-TRUST-001), or there is none
            (AGENT-TRUST-002).
    """
    try:
        return path.read_bytes()
    except IsADirectoryError as error:
        # An empty trust.root is the folder of the configuration.
        raise AgentError(
            "AGENT-TRUST-002",
            "trust.root names no file: this device belongs to no fleet yet",
            cure="edge-agent join FILE, or go on alone: edge-agent run --model FILE",
        ) from error
    except OSError as error:
        raise AgentError(
            "AGENT-TRUST-001",
            f"the root of trust cannot be read: {error}",
            cure="copy the hub's root.json to the device and set trust.root to it, or"
            " join a fleet: edge-agent join FILE",
        ) from error


def open_database(
    database: Path, boot: str, outbox: OutboxConfig, clock: Clock
) -> Slots:
    """Open, migrate or set aside the database; return the slot row.

    Raises:
        StoreError: It can be neither read nor replaced.
    """
    conn, _ = open_or_set_aside(database, int(clock.wall()))
    try:
        _tell_asides(conn, database, boot, outbox, clock.wall())
    finally:
        conn.close()
    store = SlotStore(database, boot, outbox)
    try:
        return store.read_or_restore()
    finally:
        store.close()


def _tell_asides(
    conn: sqlite3.Connection,
    database: Path,
    boot: str,
    outbox: OutboxConfig,
    now: float,
) -> None:
    """Report databases that were set aside; the report cannot be lost any more."""
    asides = untold_asides(conn, database)
    if not asides:
        return
    events = [
        EventRecord(
            at=now,
            code=DAMAGED,
            severity="critical",
            text=f"the database was damaged and set aside as {aside.name};"
            " records that were not sent yet are in that file only",
        )
        for aside in asides
    ]
    with mapped_errors(database), transaction(conn, durable=True):
        insert_records(conn, boot, outbox, events)
        mark_told(conn, asides)
    for aside in asides:
        log.error(DATABASE_SET_ASIDE, extra={"moved_to": str(aside)})

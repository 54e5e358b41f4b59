"""The slot row: what runs, what ran before, what is being tried, and how far.

Invariants: the row changes in one durable transaction, together with the report of
the change; ``previous`` is not given up before the candidate is committed. The worker
reads the row to know what to load; only the update runner writes it. A copy beside the
database survives when the database has to be set aside.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.config import OutboxConfig
from edge_agent.errors import StoreError
from edge_agent.store.db import (
    mapped_errors,
    open_db,
    read_meta,
    transaction,
    write_meta,
)
from edge_agent.store.disk import write_durably
from edge_agent.store.outbox import insert_records
from edge_agent.wire.control import Assignment
from edge_agent.wire.records import AnyRecord, PairedSummary
from edge_agent.wire.types import prepare

BACKUP_FILE = "slots.json"
UNREADABLE = "slots.unreadable"
_ROW = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How a release did over some predictions: what probation compares.

    ``misfits`` are samples of another shape or number format than it takes.
    ``fallbacks`` are those of its ``errors`` that the release before answered, a burst
    counted once.
    """

    release: int = 0
    predictions: int = 0
    errors: int = 0
    misfits: int = 0
    fallbacks: int = 0
    latency_us: float = 0.0
    confidence: float = 0.0
    class_counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The slot row and the journal of the activation machine.

    Release number 0 means none. ``seq`` is the newest assignment that was taken up,
    ``assignment`` its content while it is being carried out. ``attempts`` counts loads
    of the candidate, ``transitions`` the steps since the assignment came.
    ``baseline`` is how the active release did before the swap, ``failed_at`` when
    releases failed here lately (wall times), ``outcome`` how the newest assignment
    ended ("" while it is being carried out), ``pinned`` whether a person at the device
    wants the active release to stay. ``paired`` is what the paired test found of the
    active release, ``answered`` how many live predictions that has made, as far as is
    known, and ``evidence`` what its commit rests on ("": it was not asked for, or it is
    not committed); all three begin anew with each swap.
    """

    active: int = 0
    previous: int = 0
    candidate: int = 0
    attempts: int = 0
    seq: int = 0
    phase: str = "IDLE"
    transitions: int = 0
    assignment: Assignment | None = None
    baseline: Figures | None = None
    committed: tuple[int, ...] = ()
    quarantined: tuple[int, ...] = ()
    failed_at: tuple[float, ...] = ()
    outcome: str = ""
    code: str = ""
    detail: str = ""
    pinned: bool = False
    paired: PairedSummary | None = None
    evidence: str = ""
    answered: int = 0


prepare(Slots)

_DISPENSABLE: Mapping[str, Any] = {
    "baseline": Figures | None,
    "paired": PairedSummary | None,
    "evidence": str,
    "answered": int,
}
"""Fields that only tell what a release was judged by, with their types."""


def decode_slots(body: bytes | str) -> Slots:
    """Return a slot row; a judgement in it that cannot be read costs only itself.

    Without the row the agent does not start, so what runs must not depend on a figure
    that another version wrote.

    Raises:
        msgspec.MsgspecError: What runs cannot be read.
    """
    try:
        return msgspec.json.decode(body, type=Slots)
    except msgspec.MsgspecError:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    for name in _DISPENSABLE.keys() & fields.keys():
        try:
            msgspec.json.decode(fields[name], type=_DISPENSABLE[name])
        except msgspec.MsgspecError as error:
            log.warning(UNREADABLE, extra={"field": name, "why": str(error)})
            del fields[name]
    return msgspec.json.decode(msgspec.json.encode(fields), type=Slots)


class SlotStore:
    """Reads and writes the slot row; one instance a thread."""

    def __init__(
        self, path: Path, boot: str = "", config: OutboxConfig | None = None
    ) -> None:
        """Open the row in the database ``path``.

        Args:
            path: The database file.
            boot: Boot id of reports written with a change; readers need none.
            config: Budgets of the outbox.

        Raises:
            StoreError: The database cannot be opened.
        """
        self._path = path
        self._boot = boot
        self._config = config or OutboxConfig()
        self._conn = open_db(path)

    def read(self) -> Slots:
        """Return the row; a new device has an empty one.

        Raises:
            StoreError: It cannot be read.
        """
        with mapped_errors(self._path):
            row = self._conn.execute("SELECT body FROM slots").fetchone()
        if row is None:
            return Slots()
        try:
            return decode_slots(row[0])
        except msgspec.MsgspecError as error:
            raise StoreError("AGENT-STORE-008", f"bad slot row: {error}") from error

    def read_or_restore(self) -> Slots:
        """Return the row; where there is none, that of its copy, which is written.

        A database without a row beside a copy is a new one in the place of one that
        was set aside, perhaps by an agent that died before it got here.

        Raises:
            StoreError: It cannot be read or written.
        """
        with mapped_errors(self._path):
            row = self._conn.execute("SELECT 1 FROM slots").fetchone()
        return self.restore() if row is None else self.read()

    def write(self, slots: Slots, records: Sequence[AnyRecord] = ()) -> None:
        """Change the row and report the change, in one durable transaction.

        Raises:
            StoreError: Nothing was changed and nothing will be reported.
        """
        body = msgspec.json.encode(slots)
        with mapped_errors(self._path), transaction(self._conn, durable=True):
            self._conn.execute(
                "INSERT OR REPLACE INTO slots VALUES (?, ?)", (_ROW, body)
            )
            insert_records(self._conn, self._boot, self._config, records)
        write_durably(self._path.with_name(BACKUP_FILE), body)

    def restore(self) -> Slots:
        """Write the row anew from its copy, after the database was set aside.

        Returns:
            The row as it now is; empty if there is no readable copy.
        """
        try:
            body = self._path.with_name(BACKUP_FILE).read_bytes()
            slots = decode_slots(body)
        except (OSError, msgspec.MsgspecError):
            return Slots()
        self.write(slots)
        return slots

    def write_with(self, slots: Slots, remembered: Mapping[str, str]) -> None:
        """Change the row and what is remembered beside it, in one transaction.

        Raises:
            StoreError: Nothing was changed.
        """
        body = msgspec.json.encode(slots)
        with mapped_errors(self._path), transaction(self._conn, durable=True):
            self._conn.execute(
                "INSERT OR REPLACE INTO slots VALUES (?, ?)", (_ROW, body)
            )
            for key, text in remembered.items():
                write_meta(self._conn, key, text)
        write_durably(self._path.with_name(BACKUP_FILE), body)

    def read_text(self, key: str) -> str:
        """Return a remembered text (empty: never written).

        Raises:
            StoreError: It cannot be read.
        """
        with mapped_errors(self._path):
            return read_meta(self._conn, key, "")

    def write_text(self, key: str, text: str) -> None:
        """Remember a text durably.

        Raises:
            StoreError: It could not be written.
        """
        with mapped_errors(self._path), transaction(self._conn, durable=True):
            write_meta(self._conn, key, text)

    def read_number(self, key: str) -> float:
        """Return a remembered number (0: never written).

        Raises:
            StoreError: It cannot be read.
        """
        with mapped_errors(self._path):
            return float(read_meta(self._conn, key, "0"))

    def write_number(self, key: str, value: float) -> None:
        """Remember a number durably.

        Raises:
            StoreError: It could not be written.
        """
        with mapped_errors(self._path), transaction(self._conn, durable=True):
            write_meta(self._conn, key, repr(value))

    def close(self) -> None:
        """Close the connection."""
        self._conn.close()

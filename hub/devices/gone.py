"""Devices that are gone: retired (kept in the records), or forgotten (erased).

Forgetting begins with a tombstone: from then on nothing of the device is taken in. Its
rows and files are erased at once; the process that serves deletes its retained messages
from the broker, erases once more what it wrote itself meanwhile, and only then lets the
id go. Whatever dies in between, the next run of the command, or the serving hub, goes
on. Called by the ticker thread and the command line.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from edge_agent.base.clock import Clock
from edge_agent.wire import topics
from edge_agent.wire.topics import Lane, Leaf
from hub.config import Home
from hub.devices.receiver import no_device
from hub.devices.service import Publish
from hub.identity.journal import note_revoked, rename_revoked
from hub.storage import devices as store
from hub.storage import erasure, identity, tombstones
from hub.storage import rollouts as rollout_store
from hub.storage.db import transaction
from hub.storage.devices import AssignmentRow

log = logging.getLogger(__name__)

DEVICE_RETIRED = "device.retired"
DEVICE_BACK = "device.back"
DEVICE_FORGOTTEN = "device.forgotten"

_LEAVES = (Leaf.DESIRED, Leaf.PRESENCE, Leaf.REPORTED, Leaf.ACK, Leaf.CMD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """A device that was retired, and how many of its certificates were revoked."""

    device: str
    retired_at: float | None
    revoked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """A device that was forgotten; ``erased_at`` is ``None`` while something is left.

    ``rows`` and ``files`` were deleted or changed now.
    """

    device: str
    forgotten_at: float
    erased_at: float | None
    rows: int = 0
    files: int = 0


class GoneService:
    """Retires and forgets devices."""

    def __init__(self, engine: Engine, home: Home, clock: Clock) -> None:
        """Work on one database and the files of one home folder."""
        self._engine, self._home, self._clock = engine, home, clock

    def retire(self, devices: Sequence[str]) -> list[Retired]:
        """Retire devices: they take part in nothing, and their certificates end.

        Raises:
            NotFoundError: One of them is unknown (``HUB-DEVICE-001``); then none is.
        """
        now = self._clock.wall()
        with transaction(self._engine) as conn:
            self._require(conn, devices)
            done = [self._retire(conn, device, now) for device in devices]
        for one in done:
            log.info(DEVICE_RETIRED, extra={"device": one.device})
        return done

    def take_back(self, devices: Sequence[str]) -> list[Retired]:
        """Let retired devices take part again; certificates stay revoked.

        Raises:
            NotFoundError: One of them is unknown (``HUB-DEVICE-001``); then none is.
        """
        with transaction(self._engine) as conn:
            self._require(conn, devices)
            for device in devices:
                store.store_retired(conn, device, None)
        for device in devices:
            log.info(DEVICE_BACK, extra={"device": device})
        return [Retired(device=device, retired_at=None) for device in devices]

    def forget(self, devices: Sequence[str]) -> list[Forgotten]:
        """Erase devices from database and files; deny their ids from now on.

        Raises:
            NotFoundError: Nothing is known of one of them (``HUB-DEVICE-001``); then
                none is forgotten.
            HubError: The files of a training job cannot be changed
                (``HUB-DEVICE-002``); run it again.
        """
        now = self._clock.wall()
        with transaction(self._engine) as conn:
            for device in devices:
                buried = tombstones.get_tombstone(conn, device)
                if buried is None and not erasure.is_known(conn, device):
                    raise no_device(device)
            for device in devices:
                tombstones.bury(conn, device, now)
        return [self._erase(device) for device in devices]

    def state_of(self, one: Forgotten) -> Forgotten:
        """Return a forgotten device as it is now."""
        with self._engine.connect() as conn:
            buried = tombstones.get_tombstone(conn, one.device)
        erased_at = buried.erased_at if buried and not buried.pending else None
        return Forgotten(
            device=one.device,
            forgotten_at=buried.forgotten_at if buried else one.forgotten_at,
            erased_at=erased_at,
            rows=one.rows,
            files=one.files,
        )

    def tick(self, publish: Publish, drop_cached: Callable[[], None]) -> None:
        """Erase for good what was forgotten; called by the ticker.

        ``drop_cached`` is called before an id is let go: nothing may write it again.
        """
        with self._engine.connect() as conn:
            waiting = tombstones.pending_devices(conn)
        for device in waiting:
            if not _clear_retained(publish, device):
                return
            self._erase(device)
            drop_cached()
            with erasure.erasing(self._engine) as conn:
                tombstones.mark_erased(conn, device, self._clock.wall())
            erasure.settle(self._engine)
            log.info(DEVICE_FORGOTTEN)

    def _erase(self, device: str) -> Forgotten:
        from hub.retrain.erasing import erase_from_jobs

        now = self._clock.wall()
        files = erase_from_jobs(self._home.jobs, device)
        rows = erasure.erase(self._engine, device, now)
        with transaction(self._engine):  # one writer of the journal at a time
            rename_revoked(self._home, device, erasure.pseudonym_of(device))
        erasure.settle(self._engine)
        made = Forgotten(
            device=device, forgotten_at=now, erased_at=None, rows=rows, files=files
        )
        return self.state_of(made)

    def _retire(self, conn: Connection, device: str, now: float) -> Retired:
        store.store_retired(conn, device, now)
        identity.drop_token(conn, device)
        note_revoked(conn, self._home, device, now)
        revoked = identity.revoke(conn, device, now)
        present = store.get_assignment(conn, device)
        if present is not None and present.envelope:
            store.put_assignment(conn, _withdrawn(present, now))
        # Where a rollout is open, one that comes back begins it anew.
        for row in rollout_store.open_rollouts(conn):
            rollout_store.drop_rollout_device(conn, row.id, device)
        return Retired(device=device, retired_at=now, revoked=revoked)

    def _require(self, conn: Connection, devices: Sequence[str]) -> None:
        for device in devices:
            if store.get_device(conn, device) is None:
                raise no_device(device)


def _withdrawn(row: AssignmentRow, now: float) -> AssignmentRow:
    """Return what takes an assignment back: its retained message is deleted."""
    return AssignmentRow(
        device=row.device,
        seq=row.seq + 1,
        release=0,
        rollout=row.rollout,
        envelope="",
        issued_at=now,
        published_at=None,
    )


def _clear_retained(publish: Publish, device: str) -> bool:
    """Delete what the broker keeps of a device; tell whether it has confirmed all."""
    kept = [topics.leaf(device, leaf) for leaf in _LEAVES]
    kept += [topics.up(device, lane) for lane in Lane]
    return all(publish(topic, b"", retain=True) for topic in kept)

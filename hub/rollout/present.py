"""Which release a device shall run while no rollout is open.

It is that of the newest rollout that completed and did not leave its hardware class
out. Plain functions; the caller owns the transaction.
"""

from sqlalchemy import Connection

from hub.rollout.device_facts import Outcome, can_be_caused
from hub.rollout.facts import hardware_of, has_failed, is_boxed
from hub.rollout.gone import gone_devices
from hub.storage import devices as device_store
from hub.storage import rollouts as store
from hub.storage.rollouts import RolloutRow

_LOOK_BACK = 50
"""Rollouts; a class that all of these left out gets nothing any more."""


def present_for(conn: Connection, hardware: str) -> int:
    """Return the release that a hardware class has now (0: none)."""
    row = _newest_for(_completed(conn), hardware)
    return row.release if row else 0


def find_astray(conn: Connection, now: float) -> list[tuple[str, RolloutRow]]:
    """Return devices that have another release than theirs, with its rollout.

    These are devices that appeared, or were told something else by a rollout that was
    superseded. While a rollout is open they are its business, and a device on which a
    release failed does not get it again.
    """
    completed = _completed(conn)
    if not completed or store.open_rollouts(conn):
        return []
    assigned = device_store.list_assignments(conn)
    failed = {row.id: _failed_in(conn, row) for row in completed}
    found: list[tuple[str, RolloutRow]] = []
    gone = gone_devices(conn)
    for device in device_store.list_devices(conn):
        if device.id in gone:
            continue
        row = _newest_for(completed, hardware_of(device))
        if row is None or is_boxed(device, now) or has_failed(device, row.release):
            continue
        mine = assigned.get(device.id)
        astray = mine is None or mine.release != row.release
        if astray and device.id not in failed[row.id]:
            found.append((device.id, row))
    return found


def _completed(conn: Connection) -> list[RolloutRow]:
    """Return as many completed rollouts as it takes, newest first."""
    newest = store.completed(conn, 1)
    if not any(row.plan.left_out for row in newest):
        return newest
    return store.completed(conn, _LOOK_BACK)


def _newest_for(completed: list[RolloutRow], hardware: str) -> RolloutRow | None:
    return next((one for one in completed if hardware not in one.plan.left_out), None)


def _failed_in(conn: Connection, row: RolloutRow) -> set[str]:
    """Return the devices on which a rollout's release failed by its own fault."""
    rows = store.rollout_devices(conn, row.id).values()
    return {
        one.device
        for one in rows
        if one.outcome == Outcome.FAIL and can_be_caused(one.code)
    }

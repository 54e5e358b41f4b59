"""Devices that take part in no rollout any more: retired, or revoked.

A device whose certificates are all revoked cannot be reached, and one that is retired
shall not be. Neither is planned, waited for, counted, or given anything. Plain
functions; the caller owns the transaction.
"""

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import Connection

from hub.storage import devices as device_store
from hub.storage import identity

RETIRED = "retired"
REVOKED = "revoked"
_SHOWN = 5


def gone_devices(conn: Connection) -> dict[str, str]:
    """Return the devices that take part in nothing, each with why."""
    revoked = dict.fromkeys(identity.revoked_devices(conn), REVOKED)
    return revoked | dict.fromkeys(device_store.retired_devices(conn), RETIRED)


def gone_text(gone: Mapping[str, str]) -> str:
    """Name the devices that a rollout leaves out, for people ("": none)."""
    by_why: dict[str, list[str]] = defaultdict(list)
    for device, why in sorted(gone.items()):
        by_why[why].append(device)
    return "; ".join(
        f"{len(names)} {why}: {', '.join(names[:_SHOWN])}"
        + (f", {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        for why, names in sorted(by_why.items())
    )

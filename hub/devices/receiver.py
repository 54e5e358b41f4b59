"""What devices say of themselves comes in: presence and twin, stored one by one.

The network thread puts messages into the inbox, the ticker stores them. A message that
cannot be stored is dropped and logged; where the database cannot take any now, all are
kept for the next call.
"""

import logging
from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from edge_agent.base.clock import Clock
from edge_agent.wire.control import Presence, Reported
from hub.devices.inbox import Inbox
from hub.errors import NotFoundError
from hub.faults import Fault, classify
from hub.identity.access import Access
from hub.storage import clones
from hub.storage import devices as store
from hub.storage.db import transaction
from hub.storage.devices import DeviceRow
from hub.storage.tombstones import forgotten_among

log = logging.getLogger(__name__)

CONTROL_REFUSED = "control.refused"
DEVICE_NEW = "device.new"
DEVICE_ONLINE = "device.online"
DEVICE_OFFLINE = "device.offline"
DEVICE_CLONED = "device.cloned"


class Receiver:
    """Stores presence and twins; ``inbox`` is where the link puts them."""

    def __init__(
        self, engine: Engine, clock: Clock, access: Access, cohort_label: str
    ) -> None:
        """Begin with an empty inbox.

        What devices say that ``access`` denies is not believed. ``cohort_label`` is
        the label that names a device's cohort.
        """
        self._engine, self._clock = engine, clock
        self._access, self._cohort_label = access, cohort_label
        self.inbox = Inbox()

    def receive(self) -> None:
        """Store what came in since the last call; called by the ticker."""
        messages = self.inbox.take()
        if not messages:
            return
        try:
            self._store(messages)
        except Exception as error:
            if classify(error) is not Fault.DATA:
                self.inbox.put_back(messages)
                raise
            for message in messages:
                self._store_alone(message)

    def _store(self, messages: Sequence[Presence | Reported]) -> None:
        with transaction(self._engine) as conn:
            denied = self._access.denied(conn)
            denied |= forgotten_among(conn, {message.device for message in messages})
            for message in messages:
                if message.device in denied:
                    continue
                if isinstance(message, Presence):
                    self._receive_presence(conn, message)
                else:
                    self._receive_reported(conn, message)

    def _store_alone(self, message: Presence | Reported) -> None:
        """Store one message; one that cannot be stored is dropped and logged."""
        try:
            self._store([message])
        except Exception as error:
            if classify(error) is not Fault.DATA:
                raise
            log.exception(CONTROL_REFUSED, extra={"device": message.device})

    def _receive_presence(self, conn: Connection, presence: Presence) -> None:
        row = self._known(conn, presence.device)
        # The will of an old process says nothing about the present one.
        if not presence.online and row.boot not in {"", presence.boot}:
            return
        if presence.online:
            self._look_for_clone(conn, presence, row)
        cohort = presence.labels.get(self._cohort_label, "")
        store.store_presence(conn, presence, cohort=cohort)
        if presence.online != row.online or presence.boot != row.boot:
            event = DEVICE_ONLINE if presence.online else DEVICE_OFFLINE
            log.info(event, extra={"device": presence.device, "boot": presence.boot})

    def _look_for_clone(
        self, conn: Connection, presence: Presence, row: DeviceRow
    ) -> None:
        """Note a boot that is born again after another one was: both live.

        A boot is one process, and one process at a time holds a state folder.
        """
        now = self._clock.wall()
        again = clones.note_birth(conn, presence, now)
        if not again or row.boot in {"", presence.boot}:
            return
        detail = f"boots {row.boot} and {presence.boot} take turns"
        clones.note_clone(
            conn, presence.device, clones.TWO_BOOTS, detail=detail, at=now
        )
        log.warning(DEVICE_CLONED, extra={"device": presence.device, "detail": detail})

    def _receive_reported(self, conn: Connection, reported: Reported) -> None:
        row = self._known(conn, reported.device)
        if row.reported is None or is_newer(reported, row.reported, row.boot):
            store.store_reported(conn, reported)

    def _known(self, conn: Connection, device: str) -> DeviceRow:
        if store.get_device(conn, device) is None:
            log.info(DEVICE_NEW, extra={"device": device})
        store.touch(conn, device, self._clock.wall())
        row = store.get_device(conn, device)
        if row is None:
            raise no_device(device)
        return row


def is_newer(reported: Reported, stored: Reported, boot: str) -> bool:
    """Tell whether a twin is news; ``boot`` is the boot that presence names.

    Versions order the twins of one boot. Between boots the broker's order holds, but
    a twin of another boot never replaces one of the boot that is present.
    """
    if reported.boot == stored.boot:
        return reported.version >= stored.version
    return stored.boot != boot or reported.boot == boot


def no_device(device: str) -> NotFoundError:
    """Return the error that says that there is no such device."""
    return NotFoundError(
        "HUB-DEVICE-001",
        f"there is no device {device!r}",
        cure="`hub devices list` shows what there is",
    )

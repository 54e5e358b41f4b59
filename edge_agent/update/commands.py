"""Commands from the hub: each is carried out once, in order, before it expires.

Invariants: only an authentic command for this device with an id above every earlier
one is taken; the id is remembered durably once the command is carried out or dropped.
"""

import logging
from collections.abc import Callable

from edge_agent.errors import UpdateError, WorkerError
from edge_agent.store.slots import SlotStore
from edge_agent.update.verify import open_command
from edge_agent.wire.control import Command
from edge_agent.wire.envelope import Envelope, Verify

COMMAND_REFUSED = "command.refused"
COMMAND_EXPIRED = "command.expired"
COMMAND_DONE = "command.done"
LAST_ID = "command_id"

log = logging.getLogger(__name__)


class Commands:
    """Carries out the commands of one device."""

    def __init__(
        self,
        device: str,
        slots: SlotStore,
        verify: Verify,
        carry_out: Callable[[Command], None],
    ) -> None:
        """Wire it up; ``carry_out`` raises WorkerError where it must be tried again."""
        self._device = device
        self._slots = slots
        self._verify = verify
        self._carry_out = carry_out
        self._waiting: Command | None = None

    def on_command(self, envelope: Envelope, now: float) -> None:
        """Take up a command that is authentic, new and not expired.

        Raises:
            StoreError: Its id cannot be remembered.
        """
        try:
            command = open_command(envelope, self._device, self._verify)
        except UpdateError as error:
            log.warning(COMMAND_REFUSED, extra={"error": str(error)})
            return
        if command.id <= self._slots.read_number(LAST_ID):
            return
        if self._waiting is None or command.id > self._waiting.id:
            self._waiting = command
        self.tick(now)

    def tick(self, now: float) -> None:
        """Try the waiting command again.

        Args:
            now: Trusted wall time.

        Raises:
            StoreError: Its id cannot be remembered.
        """
        command = self._waiting
        if command is None:
            return
        expired = command.expires_at < now
        if not expired:
            try:
                self._carry_out(command)
            except WorkerError as error:
                if error.retryable:
                    return
                log.warning(COMMAND_REFUSED, extra={"error": str(error)})
        self._waiting = None
        self._slots.write_number(LAST_ID, command.id)
        event = COMMAND_EXPIRED if expired else COMMAND_DONE
        log.info(event, extra={"id": command.id})

"""What a person at the device wants of its updates: pin, unpin, roll back.

In the state folder are::

    local.json         a wish, for the agent to carry out
    local-answer.json  what the agent said to the newest wish

Invariants: a wish appears whole, in one rename, and is removed before it is carried
out: an agent that dies in between has done nothing or all of it, never twice. What is
wished is journalled and reported like everything else; nothing unsigned can come to run
by it. :func:`put_wish` is called by ``edge-agent models``, :class:`Desk` by the update
thread.
"""

import contextlib
import logging
from enum import StrEnum, auto
from pathlib import Path
from typing import Protocol

from edge_agent.base.exit_codes import ExitCode
from edge_agent.errors import UpdateError
from edge_agent.store.disk import disk_error, sync_folder, write_durably
from edge_agent.wire.codec import decode, encode
from edge_agent.wire.errors import WireError
from edge_agent.wire.types import BootId, Message, Short, Text

WISH, ANSWER = "local.json", "local-answer.json"
WISH_TAKEN = "update.wish_taken"
WISH_REFUSED = "update.wish_refused"

BUSY = "AGENT-UPDATE-097"
NO_PREVIOUS = "AGENT-UPDATE-098"
REVERTED = "AGENT-UPDATE-099"
PINNED = "AGENT-UPDATE-100"

log = logging.getLogger(__name__)


class WishError(UpdateError):
    """The device is not in a state in which this can be done."""

    exit_code = ExitCode.CONFLICT


class Action(StrEnum):
    """What is wished."""

    PIN = auto()
    UNPIN = auto()
    ROLLBACK = auto()


class Wish(Message, frozen=True, kw_only=True):
    """A wish; ``id`` is random and names the answer."""

    id: BootId
    action: Action


class Reply(Message, frozen=True, kw_only=True):
    """What the agent said: begun, or (with a code) why not."""

    id: BootId
    code: Short = ""
    text: Text = ""
    cure: Text = ""


class Obliging(Protocol):
    """Who carries wishes out: the update runner."""

    def on_wish(self, action: Action) -> None:
        """Journal it, or raise UpdateError."""
        ...


def put_wish(state_dir: Path, wish: Wish) -> None:
    """Hand a wish over; an earlier one that nobody took yet is replaced.

    Raises:
        StoreError: The state folder cannot be written.
    """
    (state_dir / ANSWER).unlink(missing_ok=True)
    write_durably(state_dir / WISH, encode(wish))


def read_reply(state_dir: Path, wish_id: str) -> Reply | None:
    """Return the agent's answer to a wish, if it is there."""
    with contextlib.suppress(OSError, WireError):
        reply = decode((state_dir / ANSWER).read_bytes(), Reply)
        return reply if reply.id == wish_id else None
    return None


class Desk:
    """The agent's side; one owner thread."""

    def __init__(self, state_dir: Path) -> None:
        """Look at a state folder."""
        self._state_dir = state_dir
        self._wish = state_dir / WISH

    def has_wish(self) -> bool:
        """Tell whether somebody wishes something now."""
        return self._wish.exists()

    def look(self, obliging: Obliging) -> None:
        """Carry out a wish that is there, and answer it.

        Raises:
            StoreError: The disk cannot be written.
        """
        try:
            data = self._wish.read_bytes()
        except OSError:
            return
        try:
            self._wish.unlink()
            sync_folder(self._state_dir)
        except OSError as error:
            raise disk_error(error) from error
        try:
            wish = decode(data, Wish)
        except WireError as error:
            log.warning(WISH_REFUSED, extra={"why": str(error)})
            return
        self._say(obliging, wish)

    def _say(self, obliging: Obliging, wish: Wish) -> None:
        reply = Reply(id=wish.id)
        try:
            obliging.on_wish(wish.action)
            log.info(WISH_TAKEN, extra={"action": wish.action.value})
        except UpdateError as error:
            log.warning(WISH_REFUSED, extra={"why": str(error)})
            reply = Reply(id=wish.id, code=error.code, text=error.text, cure=error.cure)
        write_durably(self._state_dir / ANSWER, encode(reply))

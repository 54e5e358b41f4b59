"""The inbox: what a person hands to the agent through its state folder.

In the state folder are::

    inbox/             an offer: ``offer.json``, and artifacts by sha256
    inbox.part/        an offer that is being written
    inbox-answer.json  what the agent said to the newest offer
    inbox.lock         held while an offer is written, replaced or removed

Invariants: an offer appears whole, in one rename. The agent takes it up as what the
broker delivers, with the same checks; whoever may write here could not make it run
anything that is not signed. An offer stays until its activation is at rest, so an
agent that dies meanwhile takes it up again at its next start.

:func:`put_offer` is called by ``edge-agent update apply``, :class:`Inbox` by the update
thread.
"""

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol

from edge_agent.base.exit_codes import ExitCode
from edge_agent.base.regular import open_regular
from edge_agent.errors import UpdateError
from edge_agent.store.disk import (
    PART_SUFFIX,
    disk_error,
    give_to_owner,
    sync_folder,
    write_durably,
)
from edge_agent.store.slots import Slots
from edge_agent.update.states import AT_REST, Phase
from edge_agent.wire.codec import decode, encode
from edge_agent.wire.control import Assignment, TufBundle
from edge_agent.wire.envelope import Envelope
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import MAX_ARTIFACT_BYTES
from edge_agent.wire.types import BootId, Count, Message, Short, Text

INBOX, OFFER, ARTIFACTS = "inbox", "offer.json", "artifacts"
ANSWER, LOCK = "inbox-answer.json", "inbox.lock"
_OLD = "inbox.old"
_PART = INBOX + PART_SUFFIX
MAX_OFFER_BYTES = 5 << 20
_CHUNK_BYTES = 1 << 20

OFFER_TAKEN = "update.offer_taken"
OFFER_REFUSED = "update.offer_refused"

log = logging.getLogger(__name__)


class OldAssignmentError(UpdateError):
    """The device has seen a newer assignment (AGENT-UPDATE-092)."""

    exit_code = ExitCode.CONFLICT


class InboxBusyError(UpdateError):
    """Another offer is being written (AGENT-UPDATE-093)."""

    exit_code = ExitCode.CONFLICT


class Offer(Message, frozen=True, kw_only=True):
    """What is handed over; ``id`` is random and names the answer."""

    id: BootId
    bundle: TufBundle
    assignment: Envelope


class Answer(Message, frozen=True, kw_only=True):
    """What the agent said: taken up, held until it may be, or refused and why."""

    id: BootId
    state: Literal["taken", "held", "refused"]
    seq: Count = 0
    code: Short = ""
    text: Text = ""


class Taker(Protocol):
    """Who takes offers up: the update runner."""

    @property
    def state(self) -> Slots:
        """The journalled state."""
        ...

    def on_folder(self, bundle: TufBundle, envelope: Envelope) -> Assignment:
        """Take up what a person brought, or raise UpdateError."""
        ...


def put_offer(state_dir: Path, offer: Offer, artifacts: Mapping[str, Path]) -> None:
    """Hand an offer over; an earlier one that waits is replaced.

    Args:
        state_dir: The agent's; made where it is missing.
        offer: What is handed over.
        artifacts: Files to copy along, by sha256.

    Raises:
        InboxBusyError: Another one is being written.
        StoreError: The state folder cannot be written, or the disk is full.
    """
    part, inbox, old = (state_dir / name for name in (_PART, INBOX, _OLD))
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        with _lock(state_dir):
            for leftover in (part, old):
                shutil.rmtree(leftover, ignore_errors=True)
            (part / ARTIFACTS).mkdir(parents=True)
            try:
                for sha256, path in artifacts.items():
                    _copy(path, part / ARTIFACTS / sha256)
                write_durably(part / OFFER, encode(offer))
                sync_folder(part / ARTIFACTS)
                give_to_owner(state_dir, part, *part.rglob("*"))
                if inbox.exists():
                    inbox.rename(old)
                part.rename(inbox)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            sync_folder(state_dir)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise disk_error(error) from error


def read_answer(state_dir: Path, offer_id: str) -> Answer | None:
    """Return the agent's answer to an offer, if it is there."""
    with contextlib.suppress(OSError, WireError):
        answer = decode((state_dir / ANSWER).read_bytes(), Answer)
        return answer if answer.id == offer_id else None
    return None


class Inbox:
    """The agent's side; one owner thread."""

    def __init__(self, state_dir: Path) -> None:
        """Look at a state folder; what a dead writer left is removed."""
        self._state_dir = state_dir
        self._offer = state_dir / INBOX / OFFER
        self._looked: tuple[int, int] | None = None
        self._taken: tuple[str, int] | None = None
        with contextlib.suppress(InboxBusyError, OSError), _lock(state_dir):
            for name in (_PART, _OLD):
                shutil.rmtree(state_dir / name, ignore_errors=True)

    @property
    def artifacts(self) -> Path:
        """Where the offered artifacts are, if there are any."""
        return self._state_dir / INBOX / ARTIFACTS

    def has_news(self) -> bool:
        """Tell whether there is an offer that was not looked at yet."""
        return self._seen() not in {None, self._looked}

    def look(self, taker: Taker) -> None:
        """Take up a new offer and answer it; remove one whose end is reached.

        Raises:
            StoreError: The disk cannot be written; it is looked at again.
        """
        seen = self._seen()
        if seen is not None and seen != self._looked:
            self._take_up(taker)
            self._looked = seen
        if self._taken is not None and _is_over(taker.state, self._taken[1]):
            self._remove(self._taken[0])

    def _seen(self) -> tuple[int, int] | None:
        try:
            found = self._offer.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _take_up(self, taker: Taker) -> None:
        try:
            offer = decode(self._offer.read_bytes(), Offer, limit=MAX_OFFER_BYTES)
        except (OSError, WireError) as error:
            log.warning(OFFER_REFUSED, extra={"error": str(error)})
            return
        try:
            assignment = taker.on_folder(offer.bundle, offer.assignment)
        except UpdateError as error:
            log.warning(OFFER_REFUSED, extra={"error": str(error)})
            self._say(
                Answer(
                    id=offer.id,
                    state="refused",
                    code=error.code,
                    text=error.text[:1000],
                )
            )
            self._remove(offer.id)
            return
        taken = taker.state.seq >= assignment.seq
        self._taken = (offer.id, assignment.seq)
        log.info(OFFER_TAKEN, extra={"seq": assignment.seq, "held": not taken})
        state: Literal["taken", "held"] = "taken" if taken else "held"
        self._say(Answer(id=offer.id, state=state, seq=assignment.seq))

    def _say(self, answer: Answer) -> None:
        write_durably(self._state_dir / ANSWER, encode(answer))

    def _remove(self, offer_id: str) -> None:
        """Remove an offer, unless another one has taken its place."""
        with contextlib.suppress(InboxBusyError, OSError), _lock(self._state_dir):
            self._taken = None
            with contextlib.suppress(WireError):
                data = self._offer.read_bytes()
                if decode(data, Offer, limit=MAX_OFFER_BYTES).id != offer_id:
                    return
            old = self._state_dir / _OLD
            shutil.rmtree(old, ignore_errors=True)
            self._offer.parent.rename(old)
            shutil.rmtree(old, ignore_errors=True)


def _is_over(state: Slots, seq: int) -> bool:
    return state.seq >= seq and Phase(state.phase) in AT_REST


def _copy(source: Path, target: Path) -> None:
    with (
        open_regular(source, MAX_ARTIFACT_BYTES) as file,
        target.open("wb") as out,
    ):
        while chunk := file.read(_CHUNK_BYTES):
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())


@contextlib.contextmanager
def _lock(state_dir: Path) -> Iterator[None]:
    """Hold the inbox's lock.

    Raises:
        InboxBusyError: Somebody else holds it.
        OSError: It cannot be opened.
    """
    handle = os.open(state_dir / LOCK, os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        give_to_owner(state_dir, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InboxBusyError(
                "AGENT-UPDATE-093",
                "another `edge-agent update apply` is under way",
                cure="wait for its end",
                retryable=True,
            ) from None
        yield
    finally:
        os.close(handle)

"""``edge-agent update apply``: hand a folder to the agent, and follow its activation.

Nothing is carried out here. The folder is judged first (:mod:`edge_agent.preview`), so
that what cannot work is refused at once; then it is put into the agent's inbox, where
the agent judges it again and carries it out as any other assignment. Where no agent
runs, it is carried out at the next start.
"""

import secrets
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_agent.base.exit_codes import ExitCode
from edge_agent.config import AgentConfig
from edge_agent.errors import UpdateError
from edge_agent.preview import Preview, look
from edge_agent.store.lock import is_locked
from edge_agent.store.slots import Slots
from edge_agent.update.codes import OLD_ASSIGNMENT
from edge_agent.update.download import NO_SPACE, SPARE_BYTES
from edge_agent.update.folder import Folder
from edge_agent.update.inbox import (
    Offer,
    OldAssignmentError,
    put_offer,
    read_answer,
)
from edge_agent.update.machine import TIMED_OUT
from edge_agent.update.states import AT_REST, Phase
from edge_agent.update_source import FromFolder
from edge_agent.update_state import read_device_state

POLL_S = 0.2
ANSWER_S = 60.0
"""How long an agent that runs may take to answer; a phase ends within this."""
HELD_S = 5.0
GONE_S = 20.0
"""How long an agent that went away is waited for: it may just be restarted."""
COMMITTED, WAITING = "committed", "waiting"


class SilentAgentError(UpdateError):
    """The agent runs but does not answer, or went away (AGENT-UPDATE-094)."""

    exit_code = ExitCode.UNREACHABLE


class HeldError(UpdateError):
    """The device takes nothing up now (AGENT-UPDATE-095)."""

    exit_code = ExitCode.CONFLICT


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a folder. ``outcome`` is the activation's, or ``waiting``."""

    device: str
    release: int
    seq: int
    outcome: str
    code: str = ""
    detail: str = ""

    @property
    def exit_code(self) -> int:
        """What the command exits with."""
        if self.outcome in {COMMITTED, WAITING}:
            return ExitCode.OK
        if self.code == TIMED_OUT:
            return ExitCode.TIMEOUT
        return ExitCode.REFUSED

    def lines(self) -> list[str]:
        """Return it as text."""
        what = f"release {self.release}, assignment {self.seq}: {self.outcome}"
        if self.outcome == WAITING:
            return [what, "the agent does not run: it is carried out at its next start"]
        return [f"{what}, {self.code}: {self.detail}" if self.code else what]


def apply_folder(
    config: AgentConfig, config_path: Path, path: Path, tell: Callable[[str], None]
) -> Applied:
    """Hand a folder over and wait for the end of its activation.

    Args:
        config: The device's.
        config_path: Where that was read.
        path: The folder that ``hub releases download`` wrote.
        tell: Called with each phase.

    Raises:
        UpdateError: A check refused the folder, before or by the agent; or as its
            subclasses here say.
        StoreError: The state folder cannot be read or written.
    """
    folder = Folder(path)
    envelope = folder.assignment(config.device.id)
    preview, files = look(config, config_path, FromFolder(folder))
    state = read_device_state(config, config_path)
    done = _refuse_old(preview, state.slots)
    if done is not None:
        return done
    _check_space(state.folder, sum(path.stat().st_size for path in files.values()))
    offer = Offer(id=secrets.token_hex(8), bundle=folder.bundle(), assignment=envelope)
    put_offer(state.folder, offer, files)
    waiting = _applied(preview, WAITING)
    if not is_locked(state.folder):
        return waiting
    return _Follower(config, config_path, preview, offer.id).follow(tell)


def _refuse_old(preview: Preview, slots: Slots) -> Applied | None:
    """Refuse what the device is beyond; return the end of what it has carried out."""
    if preview.seq < preview.seen:
        raise OldAssignmentError(
            OLD_ASSIGNMENT,
            f"assignment {preview.seq} is older than {preview.seen}, which this device"
            " has seen",
            cure="have the hub write the folder anew",
        )
    if preview.is_new or Phase(slots.phase) not in AT_REST:
        return None
    if slots.active == preview.assigned:
        return _applied(preview, COMMITTED)
    raise OldAssignmentError(
        OLD_ASSIGNMENT,
        f"assignment {preview.seq} was carried out before: {slots.outcome},"
        f" {slots.code}: {slots.detail}",
        cure="have the hub assign the release again, and write the folder anew",
    )


def _check_space(state_dir: Path, size: int) -> None:
    place = state_dir if state_dir.exists() else state_dir.parent
    free, needed = shutil.disk_usage(place).free, size + size // 10 + SPARE_BYTES
    if free < needed:
        raise UpdateError(
            NO_SPACE,
            f"the folder's files need {needed} bytes of disk, {free} are free",
            cure="free disk space on the device",
        )


def _applied(preview: Preview, outcome: str, slots: Slots | None = None) -> Applied:
    return Applied(
        device=preview.device,
        release=preview.assigned,
        seq=preview.seq,
        outcome=outcome,
        code=slots.code if slots and outcome != COMMITTED else "",
        detail=slots.detail if slots and outcome != COMMITTED else "",
    )


class _Follower:
    """Watches the journal until an assignment has ended."""

    def __init__(
        self, config: AgentConfig, config_path: Path, preview: Preview, offer_id: str
    ) -> None:
        self._config, self._path = config, config_path
        self._preview, self._offer_id = preview, offer_id
        self._pause = threading.Event()
        self._alive_at = self._since = time.monotonic()
        self._held_since = 0.0
        self._told = ""

    def follow(self, tell: Callable[[str], None]) -> Applied:
        """Return the end of the activation."""
        while True:
            state = read_device_state(self._config, self._path)
            self._look_at_agent(state.folder)
            self._look_at_answer(state.folder, state.slots)
            slots = state.slots
            if slots.seq > self._preview.seq:
                raise OldAssignmentError(
                    OLD_ASSIGNMENT,
                    f"a newer assignment, {slots.seq}, took the place of this one",
                )
            if slots.seq == self._preview.seq:
                if slots.phase != self._told:
                    self._told = slots.phase
                    tell(slots.phase)
                if Phase(slots.phase) in AT_REST:
                    return _applied(self._preview, slots.outcome, slots)
            self._pause.wait(POLL_S)

    def _look_at_agent(self, folder: Path) -> None:
        now = time.monotonic()
        if is_locked(folder):
            self._alive_at = now
        elif now - self._alive_at > GONE_S:
            raise SilentAgentError(
                "AGENT-UPDATE-094",
                "the agent has ended; it goes on with this at its next start",
            )

    def _look_at_answer(self, folder: Path, slots: Slots) -> None:
        answer = read_answer(folder, self._offer_id)
        now = time.monotonic()
        if answer is None:
            if slots.seq < self._preview.seq and now - self._since > ANSWER_S:
                raise SilentAgentError(
                    "AGENT-UPDATE-094",
                    f"the agent has not answered for {ANSWER_S:g} s",
                    cure="edge-agent doctor; the agent's log",
                )
            return
        if answer.state == "refused":
            raise _refusal(answer.code, answer.text)
        if slots.seq >= self._preview.seq or Phase(slots.phase) not in AT_REST:
            self._held_since = now
        elif now - (self._held_since or self._since) > HELD_S:
            raise HeldError(
                "AGENT-UPDATE-095",
                "the device takes up nothing new now; the folder waits in its inbox",
                cure="edge-agent update status says since when and why",
            )


def _refusal(code: str, text: str) -> UpdateError:
    if code == OLD_ASSIGNMENT:
        return OldAssignmentError(code, text)
    return UpdateError(code, text)

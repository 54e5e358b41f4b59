"""``edge-agent models``: what is on the device, and what a person there wants of it.

Listing reads the slot row, the manifests and the factory bundle, whether the agent runs
or not. A wish is handed to the agent that runs; where none does, it is carried out at
the next start.
"""

import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_agent.base.exit_codes import ExitCode
from edge_agent.config import AgentConfig
from edge_agent.errors import StoreError, UpdateError, WorkerError
from edge_agent.heartbeat import SOCKET_FILE, WorkerPort
from edge_agent.status import database_path
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.factory import factory_model, read_factory
from edge_agent.store.lock import is_locked
from edge_agent.store.slots import Slots, SlotStore
from edge_agent.update.desk import Action, Wish, WishError, put_wish, read_reply
from edge_agent.update.states import AT_REST, Phase
from edge_agent.wire.manifest import Bundle

ANSWER_S = 30.0
END_S = 120.0
POLL_S = 0.1


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """One model on the device; the factory model has release 0."""

    slot: str
    """``active``, ``previous``, ``candidate`` or ``factory``."""
    release: int
    name: str
    sha256: str
    model_bytes: int
    accuracy: float
    states: list[str]
    """``answering``, ``pinned``, ``committed``, ``failed here``, ``damaged``."""


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """What ``edge-agent models list`` says."""

    device: str
    phase: str
    pinned: bool
    models: list[ModelView]
    quarantined: list[int]

    def lines(self) -> list[str]:
        """Return it as a table."""
        head = f"{'slot':<11}{'release':<9}{'name':<18}{'sha256':<14}{'kB':>8}  state"
        rows = [
            f"{one.slot:<11}{one.release or '-':<9}{one.name[:16]:<18}"
            f"{one.sha256[:12]:<14}{one.model_bytes / 1000:>8.1f}"
            f"  {', '.join(one.states) or '-'}"
            for one in self.models
        ]
        lines = [head, *rows] if rows else ["there is no model on this device"]
        if self.pinned:
            lines.append("pinned: other releases wait until `edge-agent models unpin`")
        if self.quarantined:
            failed = ", ".join(map(str, self.quarantined))
            lines.append(f"not taken again unless forced: {failed}")
        return lines


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a wish."""

    action: str
    release: int
    pinned: bool
    waiting: bool = False
    """The agent does not run: it is carried out at its next start."""

    def lines(self) -> list[str]:
        """Return it as text."""
        if self.waiting:
            return [f"{self.action}: the agent does not run; at its next start"]
        now = f"release {self.release}" if self.release else "no release"
        return [f"{now} is active{', and pinned' if self.pinned else ''}"]


def list_models(config: AgentConfig, config_path: Path) -> Models:
    """Return what is on the device.

    Raises:
        NoStateError: The agent has never run here.
        StoreError: The database cannot be read.
    """
    database = database_path(config, config_path)
    slots = _slots(database)
    answering = _answering(database) if is_locked(database.parent) else ""
    store = ArtifactStore(database.parent)
    wanted = (
        ("active", slots.active),
        ("previous", slots.previous),
        ("candidate", slots.candidate),
    )
    views = [
        _view(slot, release, _reader(store, release), slots, answering)
        for slot, release in wanted
        if release and (slot != "candidate" or release != slots.active)
    ]
    factory = factory_model(config, config_path.resolve().parent)
    if factory is not None:
        folder = factory.folder
        read = lambda: read_factory(folder).release.bundle  # noqa: E731 - one use
        views.append(_view("factory", 0, read, slots, answering))
    return Models(
        device=config.device.id,
        phase=slots.phase,
        pinned=slots.pinned,
        models=views,
        quarantined=list(slots.quarantined),
    )


def wish(config: AgentConfig, config_path: Path, action: Action) -> Done:
    """Have the agent pin, unpin or roll back, and wait for the end of that.

    Raises:
        NoStateError: The agent has never run here.
        WishError: The device is not in a state for it, or the agent does not answer
            (``AGENT-UPDATE-101``), or there is no fleet (``-102``).
        StoreError: The state folder cannot be read or written.
    """
    if not config.trust.root:
        raise WishError(
            "AGENT-UPDATE-102",
            "this device belongs to no fleet: nobody changes its model",
            cure="edge-agent join FILE joins one",
        )
    database = database_path(config, config_path)
    state_dir = database.parent
    made = Wish(id=secrets.token_hex(8), action=action)
    put_wish(state_dir, made)
    if not is_locked(state_dir):
        return Done(action=action, release=0, pinned=False, waiting=True)
    _wait(lambda: read_reply(state_dir, made.id) is not None, ANSWER_S)
    reply = read_reply(state_dir, made.id)
    if reply is not None and reply.code:
        raise WishError(reply.code, reply.text, cure=reply.cure)
    if action is Action.ROLLBACK:
        _wait(lambda: Phase(_slots(database).phase) in AT_REST, END_S)
    slots = _slots(database)
    return Done(action=action, release=slots.active, pinned=slots.pinned)


class _SilentError(UpdateError):
    exit_code = ExitCode.TIMEOUT


def _wait(holds: Callable[[], bool], limit_s: float) -> None:
    deadline, pause = time.monotonic() + limit_s, threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            raise _SilentError(
                "AGENT-UPDATE-101",
                f"the agent has not done it within {limit_s:g} s",
                cure="edge-agent update status; the agent's log",
            )
        pause.wait(POLL_S)


def _slots(database: Path) -> Slots:
    store = SlotStore(database)
    try:
        return store.read()
    finally:
        store.close()


def _answering(database: Path) -> str:
    worker = WorkerPort(database.with_name(SOCKET_FILE))
    try:
        worker.stats()
    except WorkerError:
        return ""
    return worker.loaded.sha256


def _reader(store: ArtifactStore, release: int) -> Callable[[], Bundle]:
    return lambda: store.read_release(release).bundle


def _view(
    slot: str, release: int, read: Callable[[], Bundle], slots: Slots, answering: str
) -> ModelView:
    try:
        bundle = read()
    except StoreError:
        return ModelView(
            slot=slot,
            release=release,
            name="?",
            sha256="",
            model_bytes=0,
            accuracy=0.0,
            states=["damaged"],
        )
    holds = {
        "answering": bundle.model.sha256 == answering,
        "pinned": slots.pinned and slot == "active",
        "committed": release in slots.committed,
        "failed here": release in slots.quarantined,
    }
    return ModelView(
        slot=slot,
        release=release,
        name=bundle.name,
        sha256=bundle.model.sha256,
        model_bytes=bundle.model.bytes,
        accuracy=bundle.accuracy,
        states=[state for state, is_so in holds.items() if is_so],
    )

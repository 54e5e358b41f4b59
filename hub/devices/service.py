"""Devices: presence and twin come in, assignments and commands go out.

An assignment is stored, signed and with a seq above every earlier one, before it is
published; ``published_at`` is set only when the broker has confirmed it. So whatever
crashes, the next flush publishes what is missing, and publishing twice does no harm.
The hub believes what a device *reports*, never what it was told. Called by the ticker
thread and the command line.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import UNSET
from sqlalchemy import Connection, Engine

from edge_agent.base.clock import Clock
from edge_agent.wire import codec, topics
from edge_agent.wire.control import (
    Assignment,
    CollectSamples,
    Command,
    ProbationPolicy,
    TufBundle,
)
from edge_agent.wire.envelope import Purpose, seal
from edge_agent.wire.manifest import release_target
from edge_agent.wire.topics import Leaf
from hub.config import HubConfig
from hub.devices.inbox import Inbox
from hub.devices.receiver import Receiver, no_device
from hub.devices.resign import EnvelopeSigner, is_current, resign
from hub.devices.terms import PLAIN, Terms
from hub.identity.access import Access
from hub.storage import clones
from hub.storage import devices as store
from hub.storage import releases as release_store
from hub.storage.activations import Activation, last_activation
from hub.storage.clones import CloneRow
from hub.storage.db import transaction
from hub.storage.devices import AssignmentRow, CommandRow, DeviceRow
from hub.storage.hub_links import HubLinkRow, read_link

log = logging.getLogger(__name__)

DEVICE_ASSIGNED = "device.assigned"
DESIRED_RESIGNED = "device.desired_resigned"

COMMAND_LIFE_S = 3600.0
_MAX_SEQ = 2**52


class Publish(Protocol):
    """The link's publish: true once the broker has confirmed."""

    def __call__(
        self, topic: str, payload: bytes, *, retain: bool, expires_s: float = 0.0
    ) -> bool:
        """Publish at QoS 1 and wait for the broker; 0: it never expires."""
        ...


def _fits(_topic: str, _payload: bytes) -> bool:
    return True


class DeviceService:
    """Knows the devices and speaks to them through signed envelopes."""

    def __init__(
        self,
        engine: Engine,
        config: HubConfig,
        clock: Clock,
        signer: EnvelopeSigner,
        access: Access,
    ) -> None:
        """Work on one database; ``signer`` signs with the hub's online key.

        What devices say that ``access`` denies is not believed.
        """
        self._engine = engine
        self._config = config
        self._clock = clock
        self._signer = signer
        self._receiver = Receiver(engine, clock, access, config.monitor.cohort_label)
        self._reconnected = threading.Event()
        self._tuf_published = 0
        self._tuf_too_large = 0

    @property
    def inbox(self) -> Inbox:
        """Where the link puts presence and reported twins."""
        return self._receiver.inbox

    def receive(self) -> None:
        """Store what came in since the last call; called by the ticker."""
        self._receiver.receive()

    def republish_all(self) -> None:
        """Publish all retained messages again at the next flush.

        Called at each connection, on the network thread: a broker that lost its
        state gets it back from the database, which is the truth.
        """
        self._reconnected.set()

    def assign(self, device: str, release: int, rollout: str) -> int:
        """Assign a release to a device and return the assignment's seq.

        Raises:
            NotFoundError: There is no such device or release.
        """
        with transaction(self._engine) as conn:
            return self.assign_in(conn, device, release, rollout)

    def assign_in(
        self,
        conn: Connection,
        device: str,
        release: int,
        rollout: str,
        terms: Terms = PLAIN,
    ) -> int:
        """Assign inside the caller's transaction; see :meth:`assign`."""
        if store.get_device(conn, device) is None:
            raise no_device(device)
        row = release_store.require_release(conn, release)
        now = self._clock.wall()
        policy = self._config.rollout
        assignment = Assignment(
            device=device,
            seq=_next_seq(conn, device),
            release=release,
            target=release_target(row.name, release),
            rollout=rollout,
            issued_at=now,
            artifacts_url=artifacts_url(self._config),
            probation=ProbationPolicy(
                min_predictions=policy.probation_min_predictions,
                min_s=policy.probation_min_s,
            ),
            shadow=terms.shadow or UNSET,
            forced=terms.forced or UNSET,
            paired=terms.paired or UNSET,
        )
        envelope = seal(Purpose.ASSIGNMENT, codec.encode(assignment), self._signer.sign)
        store.put_assignment(
            conn,
            AssignmentRow(
                device=device,
                seq=assignment.seq,
                release=release,
                rollout=rollout,
                envelope=codec.encode(envelope).decode(),
                issued_at=now,
                published_at=None,
            ),
        )
        log.info(
            DEVICE_ASSIGNED,
            extra={"device": device, "release": release, "seq": assignment.seq},
        )
        return assignment.seq

    def withdraw_in(self, conn: Connection, device: str, rollout: str) -> int:
        """Take a device's assignment back: its retained message is deleted."""
        seq = _next_seq(conn, device)
        store.put_assignment(
            conn,
            AssignmentRow(
                device=device,
                seq=seq,
                release=0,
                rollout=rollout,
                envelope="",
                issued_at=self._clock.wall(),
                published_at=None,
            ),
        )
        return seq

    def collect(self, devices: Sequence[str], max_samples: int, reason: str) -> None:
        """Ask devices for labelled samples; those without consent send none."""
        now = self._clock.wall()
        with transaction(self._engine) as conn:
            for device in devices:
                expires_at = now + COMMAND_LIFE_S
                number = store.reserve_command(conn, device, expires_at)
                command = Command(
                    device=device,
                    id=number,
                    expires_at=expires_at,
                    action=CollectSamples(max_samples=max_samples, reason=reason),
                )
                envelope = seal(
                    Purpose.COMMAND, codec.encode(command), self._signer.sign
                )
                store.fill_command(conn, number, codec.encode(envelope).decode())

    def flush(
        self,
        publish: Publish,
        tuf_version: Callable[[], int],
        tuf_bundle: Callable[[], TufBundle],
        fits: Callable[[str, bytes], bool] = _fits,
    ) -> None:
        """Publish what the broker does not have yet; called by the ticker.

        Metadata goes first: an assignment is worth nothing to a device that cannot
        verify its release, or does not yet know the key that signed it. Where the
        broker takes no message as large as the metadata (``fits``), devices get it
        over HTTP, and assignments and commands go out all the same.
        """
        if self._reconnected.is_set():
            self._reconnected.clear()
            self._tuf_published = self._tuf_too_large = 0
            with transaction(self._engine) as conn:
                store.unmark_assignments(conn)
        if not self._flush_tuf(publish, tuf_version, tuf_bundle, fits):
            return
        assignments, commands = self._unpublished()
        for row in assignments:
            topic = topics.leaf(row.device, Leaf.DESIRED)
            if not publish(topic, row.envelope.encode(), retain=True):
                return
            with transaction(self._engine) as conn:
                store.mark_assignment(conn, row.device, row.seq, self._clock.wall())
        for command in commands:
            topic = topics.leaf(command.device, Leaf.CMD)
            left_s = command.expires_at - self._clock.wall()
            body = command.envelope.encode()
            if not publish(topic, body, retain=False, expires_s=max(1.0, left_s)):
                return
            with transaction(self._engine) as conn:
                store.mark_command(conn, command.id, self._clock.wall())

    def resign_desired(self) -> None:
        """Put what devices shall believe under the present key, if it is not yet."""
        with transaction(self._engine) as conn:
            count = resign(conn, self._signer, self._clock.wall())
        if count:
            log.info(DESIRED_RESIGNED, extra={"messages": count})

    def list_devices(self) -> list[DeviceRow]:
        """Return all devices by id."""
        with self._engine.connect() as conn:
            return store.list_devices(conn)

    def get(self, device: str) -> tuple[DeviceRow, AssignmentRow | None]:
        """Return a device and its newest assignment.

        Raises:
            NotFoundError: There is no such device (``HUB-DEVICE-001``).
        """
        with self._engine.connect() as conn:
            row = store.get_device(conn, device)
            if row is None:
                raise no_device(device)
            return row, store.get_assignment(conn, device)

    def link_state(self) -> HubLinkRow:
        """Return whether the hub that serves has its broker, as of when."""
        with self._engine.connect() as conn:
            return read_link(conn)

    def clone_of(self, device: str) -> CloneRow | None:
        """Return what says that a device is there twice, if anything ever did."""
        with self._engine.connect() as conn:
            return clones.get_clone(conn, device)

    def activation_of(self, device: str) -> Activation:
        """Return what a device said last of its activations."""
        with self._engine.connect() as conn:
            return last_activation(conn, device)

    def _unpublished(self) -> tuple[list[AssignmentRow], list[CommandRow]]:
        """Return what the broker does not have yet, all under the present key."""
        keyid = self._signer.keyid()
        with self._engine.connect() as conn:
            assignments = store.unpublished_assignments(conn)
            commands = store.unpublished_commands(conn, self._clock.wall())
        envelopes = [row.envelope for row in assignments]
        envelopes += [row.envelope for row in commands]
        if all(is_current(envelope, keyid) for envelope in envelopes):
            return assignments, commands
        self.resign_desired()
        with self._engine.connect() as conn:
            return (
                store.unpublished_assignments(conn),
                store.unpublished_commands(conn, self._clock.wall()),
            )

    def _flush_tuf(
        self,
        publish: Publish,
        tuf_version: Callable[[], int],
        tuf_bundle: Callable[[], TufBundle],
        fits: Callable[[str, bytes], bool],
    ) -> bool:
        version = tuf_version()
        if version in {self._tuf_published, self._tuf_too_large}:
            return True
        body = codec.encode(tuf_bundle())
        if not publish(topics.HUB_TUF, body, retain=True):
            if fits(topics.HUB_TUF, body):
                return False
            self._tuf_too_large = version
            self.resign_desired()
            return True
        self.resign_desired()
        self._tuf_published = version
        return True


def artifacts_url(config: HubConfig) -> str:
    """Return where devices fetch artifacts."""
    api = config.api
    scheme = "https" if api.tls else "http"
    return (api.public_url or f"{scheme}://{api.host}:{api.port}").rstrip("/")


def _next_seq(conn: Connection, device: str) -> int:
    """Return a number above all that this hub gave and that the device has seen.

    A hub that was restored gave numbers which it does not know. One that leaves no
    room above it is no number that a hub gave.
    """
    row, known = store.get_assignment(conn, device), store.get_device(conn, device)
    seen = known.reported.assignment_seq if known and known.reported else 0
    return max(row.seq if row else 0, seen if seen < _MAX_SEQ else 0) + 1

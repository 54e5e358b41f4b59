"""The relay thread: one loop that receives, sends, and keeps the twin up to date.

It logs once when the link goes and once when it returns, and goes on without the
database for as long as the disk is full. Messages for others go to ``deliver``, which
must not block for long.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.base.clock import Clock
from edge_agent.base.mqtt_version import Version
from edge_agent.config import AgentConfig
from edge_agent.errors import StoreError
from edge_agent.link.meter import Meter
from edge_agent.link.port import Down, Link, Received, Refused, Up
from edge_agent.link.refusal import explain
from edge_agent.link.relay import Relay
from edge_agent.link.twin import CommandReceived, Desired, Twin
from edge_agent.store.outbox import Outbox
from edge_agent.store.slots import SlotStore
from edge_agent.wire.control import Ack, Reported, TufBundle
from edge_agent.wire.records import EventRecord

LINK_UP = "link.up"
LINK_DOWN = "link.down"
STORE_FAILED = "link.store_failed"
LINK_REFUSED = "link.refused"
LINK_STATE = "link_up"
LINK_LEVEL = "link_mqtt_level"
LEVELS: dict[Version, float] = {"5": 5.0, "3.1.1": 4.0}
"""What CONNECT calls the versions."""
LINK_CONTESTED = "link.contested"
CONTESTED = "AGENT-LINK-006"
CONTEST_CURE = (
    "give one of the two its own device.id and an empty state folder; with mutual TLS"
    " also: hub devices revoke, then enrol both anew"
)
TELL_AGAIN_S = 3600.0
POLL_S = 0.1
DRAIN_S = 5.0
STORE_PAUSE_S = 1.0

log = logging.getLogger(__name__)
Delivery = Desired | CommandReceived | TufBundle


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPorts:
    """What the session asks of the rest of the agent."""

    deliver: Callable[[Delivery], None]
    reported: Callable[[], Reported]
    """The twin as it is now."""
    block: Callable[[bytes], None] = lambda _payload: None
    """Takes a block of an artifact; must not wait."""


class LinkSession:
    """Everything that goes over the link of one agent."""

    def __init__(
        self, config: AgentConfig, link: Link, twin: Twin, clock: Clock, *, boot: str
    ) -> None:
        """Wire it up; :meth:`run` is the body of the relay thread."""
        self._config = config
        self._link = link
        self._twin = twin
        self._clock = clock
        self._boot = boot
        self._leave = threading.Event()
        self._report_due = threading.Event()
        self._up: bool | None = None
        self._refusals: set[tuple[str, int]] = set()
        self._contested = False
        self._told_at = float("-inf")

    def report_soon(self) -> None:
        """Have the reported twin published; any thread may call it."""
        self._report_due.set()

    def leave(self) -> None:
        """Send what is left for at most ``DRAIN_S`` and end :meth:`run`."""
        self._leave.set()

    def run(self, database: Path, ports: SessionPorts) -> None:
        """Receive and send until :meth:`leave`.

        Raises:
            StoreError: The database cannot be opened at all.
        """
        outbox = Outbox(database, self._boot, self._config.outbox)
        slots = SlotStore(database)
        meter = Meter(self._config.relay, database.parent, self._clock)
        relay = Relay(
            self._config.device.id,
            outbox,
            self._link,
            self._clock,
            resend_after_s=self._config.outbox.resend_after_s,
        )
        relay.pace = meter.pace
        deadline = float("inf")
        failing = False
        while self._clock.mono() < deadline:
            try:
                meter.look(slots)
                self._once(relay, slots, ports)
                self._tell_contest(outbox)
                if self._leave.is_set():
                    deadline = min(deadline, self._clock.mono() + DRAIN_S)
                    if not self._link.connected or not relay.may_drain():
                        break
                failing = False
            except StoreError as error:
                if not failing:
                    log.warning(STORE_FAILED, extra={"error": str(error)})
                failing = True
                if self._leave.wait(STORE_PAUSE_S):
                    break
        outbox.close()
        slots.close()

    def _once(self, relay: Relay, slots: SlotStore, ports: SessionPorts) -> None:
        event = self._link.poll(POLL_S)
        if isinstance(event, Up):
            self._note_up(slots, event.version)
            relay.on_up()
            birth = self._twin.birth(self._clock.wall())
            self._link.publish(self._twin.presence_topic, birth, retain=True)
            self._report_due.set()
        elif isinstance(event, Down):
            self._contested |= event.contested
            self._note_down(slots, event.reason)
        elif isinstance(event, Refused):
            self._note_refused(event)
            relay.on_refused(event)
        elif isinstance(event, Received) and event.topic == self._twin.block_topic:
            ports.block(event.payload)
        elif isinstance(event, Received):
            message = self._twin.decode(event.topic, event.payload)
            if isinstance(message, Ack):
                relay.on_ack(message)
            elif message is not None:
                ports.deliver(message)
        self._publish_twin(ports)
        relay.pump()

    def _tell_contest(self, outbox: Outbox) -> None:
        """Report, at most once in a while, that another device uses this one's id."""
        if not self._contested:
            return
        self._contested = False
        if self._clock.mono() - self._told_at < TELL_AGAIN_S:
            return
        text = (
            f"another device uses the id {self._config.device.id}: the broker ends"
            f" every session soon. {CONTEST_CURE}"
        )
        record = EventRecord(
            at=self._clock.wall(), code=CONTESTED, severity="critical", text=text
        )
        outbox.append([record])
        self._told_at = self._clock.mono()
        log.error(LINK_CONTESTED, extra={"device": self._config.device.id})

    def _publish_twin(self, ports: SessionPorts) -> None:
        if not self._report_due.is_set() or not self._link.connected:
            return
        self._report_due.clear()
        payload = self._twin.reported(ports.reported())
        if not self._link.publish(self._twin.reported_topic, payload, retain=True):
            self._report_due.set()

    @property
    def _broker(self) -> str:
        return f"{self._config.broker.host}:{self._config.broker.port}"

    def _note_up(self, slots: SlotStore, version: Version) -> None:
        if self._up is True:
            return
        self._up = True
        log.info(LINK_UP, extra={"broker": self._broker, "mqtt": version})
        slots.write_number(LINK_LEVEL, LEVELS[version])
        slots.write_number(LINK_STATE, 1.0)

    def _note_down(self, slots: SlotStore, reason: str) -> None:
        if self._up is False:
            return
        self._up = False
        log.warning(LINK_DOWN, extra={"broker": self._broker, "reason": reason})
        slots.write_number(LINK_STATE, 0.0)

    def _note_refused(self, refused: Refused) -> None:
        """Say it once: the relay tries again without end."""
        key = (refused.topic, refused.number)
        if key not in self._refusals:
            self._refusals.add(key)
            log.error(LINK_REFUSED, extra=explain(refused).facts())

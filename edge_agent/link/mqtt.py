"""The device's MQTT connection; the only file of the agent that imports paho.

MQTT 5 where the broker knows it, else 3.1.1; persistent session, QoS 1, a retained
last will. Invariants: paho never holds a backlog (messages are refused while there is
no session, or while ``WINDOW`` of them or as many as the broker takes are in flight);
paho's thread only enqueues; plaintext goes to loopback only, unless the configuration
allows it; TLS checks the broker's name and shows our certificate. Reconnecting is paced
with full jitter (:mod:`edge_agent.link.retries`).
"""

import contextlib
import logging
import queue
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.base.loopback import is_loopback
from edge_agent.base.mqtt_version import (
    UNSUPPORTED_VERSION,
    V5,
    Answer,
    Limits,
    VersionChoice,
    read_limits,
)
from edge_agent.base.tls import client_context
from edge_agent.config import BrokerConfig
from edge_agent.errors import LinkError
from edge_agent.link.port import Down, LinkEvent, Received, Refused, Up
from edge_agent.link.refusal import TOO_LARGE
from edge_agent.link.retries import Retries

LINK_EVENT_DROPPED = "link.event_dropped"
WINDOW = 32
EVENT_QUEUE = 1024
CONNECT_TIMEOUT_S = 5.0
SUSPECT_BYTES = 4096
"""No broker worth the name takes less, so nothing smaller is given up."""
_TOO_LARGE_SIGNS = frozenset({0x82, TOO_LARGE})
SESSION_S = 7 * 24 * 3600
"""How long a broker keeps our session; 3.1.1 keeps it for ever. All that is lost with
it are commands, which expire sooner: desired state is retained."""
MAX_PACKET_BYTES = (4 << 20) + (64 << 10)
"""Above the largest message there is for us, a bundle of metadata."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Flight:
    """One connection's answer and messages; each count has one writing thread.

    ``topics`` holds topic and size of what is in flight, ``offered`` of what paho is
    given at this moment, and ``early`` what the broker answered before it was entered.
    Their lock is never held while paho is called.
    """

    answer: Answer = Answer.NONE
    limits: Limits = field(default_factory=Limits)
    sent: int = 0
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    topics: dict[int, tuple[str, int]] = field(default_factory=dict)
    offered: list[tuple[str, int]] = field(default_factory=list)
    early: dict[int, ReasonCode] = field(default_factory=dict)

    def is_full(self) -> bool:
        """Whether no more may be in flight; one place is kept for the goodbye."""
        window = min(WINDOW, max(1, self.limits.receive_maximum - 1))
        return self.sent - self.done >= window

    @contextlib.contextmanager
    def offering(self, topic: str, size: int) -> Iterator[None]:
        """Note what is given to paho: the answer may come before its number."""
        with self.lock:
            self.offered.append((topic, size))
        try:
            yield
        finally:
            with self.lock:
                self.offered.remove((topic, size))

    def largest(self) -> tuple[str, int] | None:
        """Return topic and size of the largest message that is on its way."""
        with self.lock:
            on_the_way = (*self.topics.values(), *self.offered)
        return max(on_the_way, key=itemgetter(1), default=None)

    def enter(self, mid: int, topic: str, size: int) -> ReasonCode | None:
        """Note what was sent; return why it was refused already, if it was."""
        with self.lock:
            early = self.early.pop(mid, None)
            if early is None:
                self.topics[mid] = (topic, size)
            return early if early is not None and early.is_failure else None

    def leave(self, mid: int, reason: ReasonCode) -> tuple[str, int] | None:
        """Note a PUBACK; return topic and size if they are known by now."""
        with self.lock:
            known = self.topics.pop(mid, None)
            if known is None:
                self.early[mid] = reason
            return known


class MqttLink:
    """A broker connection that reconnects until it is stopped."""

    def __init__(
        self,
        device: str,
        config: BrokerConfig,
        *,
        subscriptions: Sequence[str],
        will: tuple[str, bytes],
    ) -> None:
        """Prepare a connection; nothing is sent before :meth:`run`.

        Args:
            device: Device id, which is the MQTT client id.
            config: The broker.
            subscriptions: Topic filters to subscribe to at every connection.
            will: Topic and payload of the retained last will.

        Raises:
            LinkError: The broker is remote and plaintext is not allowed.
        """
        refuse_plaintext(config)
        self._config = config
        self._subscriptions = [(topic, 1) for topic in subscriptions]
        self._events: queue.Queue[LinkEvent] = queue.Queue(EVENT_QUEUE)
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._up = threading.Event()
        self._up_since: float | None = None
        self._flight = _Flight()
        self._random = random.SystemRandom()
        self._choice = VersionChoice(config.protocol)
        self._device = device
        self._will = will
        self._client = self._new_client()

    def _new_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._device,
            clean_session=None if self._is_v5 else False,
            protocol=paho.MQTTv5 if self._is_v5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(WINDOW)
        client.max_queued_messages_set(2 * WINDOW)
        client.will_set(self._will[0], self._will[1], qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    @property
    def _is_v5(self) -> bool:
        return self._choice.version == V5

    @property
    def connected(self) -> bool:
        """Whether a session is established now."""
        return self._up.is_set()

    def run(self) -> None:
        """Connect and reconnect until :meth:`stop`; body of the link's thread."""
        retries = Retries()
        while not self._stop.is_set():
            self._up_since = None
            if self._connect():
                self._lost.wait()
                self._client.loop_stop()
                self._choice.note(self._flight.answer)
            retries.ended(self._session_s())
            if retries.contested:
                self._put(Down(reason="thrown out again and again", contested=True))
            if self._stop.wait(self._random.uniform(0.05, retries.wait_s)):
                break

    def stop(self, last: tuple[str, bytes] | None = None) -> None:
        """Say goodbye with a last retained message, disconnect, end :meth:`run`."""
        self._stop.set()
        if last is not None and self.connected:
            info = self._client.publish(last[0], last[1], qos=1, retain=True)
            self._wait_published(info)
        self._client.disconnect()
        self._lost.set()

    def fits(self, topic: str, payload: bytes) -> bool:
        """Tell whether the broker takes messages of this size."""
        return self._flight.limits.fits(topic, payload)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Hand a message to the broker with QoS 1; ``False``: not taken."""
        # No lock here: paho holds one of its own while it calls on_publish.
        flight = self._flight
        if not self.connected or flight.is_full() or not self.fits(topic, payload):
            return False
        with flight.offering(topic, len(payload)):
            info = self._client.publish(topic, payload, qos=1, retain=retain)
            if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                return False
            flight.sent += 1
            refused = flight.enter(info.mid, topic, len(payload))
        if refused is not None:
            self._say_refused(topic, len(payload), refused)
        return True

    def reconnect(self) -> None:
        """End the session, so that the next one has the certificate that is there now.

        Nothing is lost: what was in flight is asked for and sent again.
        """
        self._client.disconnect()

    def poll(self, timeout_s: float) -> LinkEvent | None:
        """Return the next event, or ``None`` when there is none in time."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _connect(self) -> bool:
        # A new client each time: one that is used again would send what it had in
        # flight once more, and the relay decides what is sent.
        self._lost.clear()
        self._flight = _Flight()
        self._client = self._new_client()
        try:
            if self._config.tls.enabled:
                # Read anew at each connection: certificates are renewed meanwhile.
                tls = self._config.tls
                context = client_context(tls.ca, tls.cert, tls.key)
                self._client.tls_set_context(context)
            self._call_broker()
        except (OSError, ValueError) as error:
            self._put(Down(reason=str(error)))
            return False
        self._client.loop_start()
        return True

    def _call_broker(self) -> None:
        host, port, silence_s = (
            self._config.host,
            self._config.port,
            self._config.keepalive_s,
        )
        if not self._is_v5:
            self._client.connect(host, port, silence_s)
            return
        wanted = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wanted.SessionExpiryInterval = SESSION_S
        wanted.MaximumPacketSize = MAX_PACKET_BYTES
        self._client.connect(
            host, port, silence_s, clean_start=False, properties=wanted
        )

    def _session_s(self) -> float | None:
        """Return how long the session lasted; ``None``: there was none."""
        since = self._up_since
        return None if since is None else time.monotonic() - since

    def _wait_published(self, info: paho.MQTTMessageInfo) -> None:
        try:
            info.wait_for_publish(timeout=1.0)
        except (RuntimeError, ValueError):
            return

    def _put(self, event: LinkEvent) -> None:
        try:
            self._events.put_nowait(event)
        except queue.Full:
            log.warning(LINK_EVENT_DROPPED, extra={"kind": type(event).__name__})

    def _on_connect(
        self,
        client: paho.Client,
        _userdata: Any,  # noqa: ANN401 - paho's interface
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            unknown = reason.value == UNSUPPORTED_VERSION
            self._flight.answer = Answer.WRONG_VERSION if unknown else Answer.REFUSED
            self._put(Down(reason=str(reason)))
            self._lost.set()
            return
        self._flight.answer = Answer.ACCEPTED
        self._flight.limits = read_limits(properties)
        client.subscribe(self._subscriptions)
        self._up_since = time.monotonic()
        self._up.set()
        self._put(Up(version=self._choice.version))

    def _on_connect_fail(
        self,
        _client: paho.Client,
        _userdata: Any,  # noqa: ANN401 - paho's interface
    ) -> None:
        self._lose("connection failed")

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: Any,  # noqa: ANN401 - paho's interface
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.value in _TOO_LARGE_SIGNS:
            self._suspect_largest(reason)
        self._lose(str(reason))

    def _suspect_largest(self, reason: ReasonCode) -> None:
        """Take the largest message in flight for what ended the connection.

        The broker says "packet too large" when it disconnects, or (mosquitto with
        ``message_size_limit``) in a PUBACK, where the standard has no such reason and
        paho takes it for a protocol error.
        """
        largest = self._flight.largest()
        if largest is not None and largest[1] >= SUSPECT_BYTES:
            topic, size = largest
            name = str(reason)
            self._put(
                Refused(topic=topic, number=TOO_LARGE, reason=name, size_bytes=size)
            )

    def _lose(self, reason: str) -> None:
        self._up.clear()
        self._put(Down(reason=reason))
        self._lost.set()

    def _on_message(
        self,
        _client: paho.Client,
        _userdata: Any,  # noqa: ANN401 - paho's interface
        message: paho.MQTTMessage,
    ) -> None:
        self._put(Received(topic=message.topic, payload=bytes(message.payload)))

    def _on_publish(
        self,
        _client: paho.Client,
        _userdata: Any,  # noqa: ANN401 - paho's interface
        mid: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        self._flight.done += 1
        known = self._flight.leave(mid, reason)
        if known is not None and reason.is_failure:
            self._say_refused(*known, reason)

    def _say_refused(self, topic: str, size: int, reason: ReasonCode) -> None:
        number, name = int(reason.value), str(reason)
        self._put(Refused(topic=topic, number=number, reason=name, size_bytes=size))


def refuse_plaintext(config: BrokerConfig) -> None:
    """Refuse to speak plaintext over a network, unless the configuration allows it.

    Raises:
        LinkError: The broker is not on this machine (AGENT-LINK-001).
    """
    if config.tls.enabled or config.allow_plaintext or is_loopback(config.host):
        return
    raise LinkError(
        "AGENT-LINK-001",
        f"the broker {config.host} is on a network and the link is not encrypted",
        cure="enrol and enable broker.tls, or set broker.allow_plaintext = true",
    )

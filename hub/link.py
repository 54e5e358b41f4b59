"""The hub's connection to the MQTT broker.

With ``hub/confirmed.py`` the only file of the hub that imports paho. It decides nothing
about content. Its invariants:

* A PUBACK goes out only when the receiver says so (``done()``), and only on the
  connection that the message came by: packet identifiers start anew on each.
* Nothing waits on the network thread, so the callbacks given here must be quick.
* Plaintext leaves this machine only with ``allow_plaintext``; TLS checks the host.

MQTT 3.1.1 with a persistent session is all it needs of a broker; where the broker knows
MQTT 5 it learns of refusals, and sessions and commands expire. ``hub/service.py`` owns
the one instance.
"""

import contextlib
import logging
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.base.loopback import is_loopback
from edge_agent.base.mqtt_version import (
    UNSUPPORTED_VERSION,
    V5,
    Answer,
    Version,
    VersionChoice,
    read_limits,
)
from edge_agent.wire import topics
from edge_agent.wire.topics import Address, Lane, Leaf
from hub.broker_tls import read_tls
from hub.config import BrokerConfig
from hub.confirmed import LINK_REFUSED, Confirmed, Outgoing
from hub.errors import UnreachableError

log = logging.getLogger(__name__)

LINK_UP = "link.up"
LINK_DOWN = "link.down"

KEEPALIVE_S = 30
STOP_S = 10.0
STOP_AGAIN_S = 0.5
MAX_QUEUED = 10_000
MAX_INFLIGHT = 100
RECONNECT_MIN_S = 0.1
"""Short: what waits in the broker meanwhile is what it may deliver twice."""
RECONNECT_MAX_S = 5
SESSION_S = 24 * 3600
"""How long the broker keeps our session, and batches in it; devices keep theirs."""

SEND_S = 5.0

Done = Callable[[], None]
OnBatch = Callable[[str, bytes, Done], None]
OnControl = Callable[[Address, bytes], None]


class HubLink:
    """One client, by default with a persistent session. Thread-safe once started.

    ``on_batch(topic, payload, done)`` gets what devices send up and calls ``done``
    from any thread when the broker may forget it; ``on_control(address, payload)``
    gets presence and reported twins; ``on_up()`` is called at each connection.
    """

    def __init__(
        self,
        config: BrokerConfig,
        *,
        on_batch: OnBatch | None,
        on_control: OnControl | None,
        on_up: Callable[[], None],
        persistent: bool = True,
    ) -> None:
        """Prepare the client; nothing is sent before :meth:`start`.

        Nothing is subscribed to for a callback that is ``None``.

        ``persistent`` is for the one hub; who only looks on leaves no session behind.
        """
        self._config = config
        self._on_batch, self._on_control, self._on_up = on_batch, on_control, on_up
        self._up = threading.Event()
        self._said_down = False
        self._generation = 0
        self._network_thread = 0
        self._persistent = persistent
        self._choice = VersionChoice(config.protocol)
        self._answer = Answer.NONE
        self._confirmed = Confirmed()
        self._swap = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="mqtt", daemon=True)
        self._context: ssl.SSLContext | None = None
        self._client = self._new_client()

    def _new_client(self) -> mqtt.Client:
        is_v5 = self._choice.version == V5
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._config.client_id,
            clean_session=None if is_v5 else not self._persistent,
            protocol=mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        if self._context is not None:
            client.tls_set_context(self._context)
        client.max_queued_messages_set(MAX_QUEUED)
        client.max_inflight_messages_set(MAX_INFLIGHT)
        client.on_connect = self._connected
        # Without this whoever publishes writes to the socket, and two threads in one
        # TLS connection corrupt the memory of the process.
        client.on_socket_register_write = lambda *_: None
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_message = self._message
        client.on_publish = self._confirmed.on_publish
        return client

    @property
    def version(self) -> Version:
        """The MQTT version that is spoken, or tried next."""
        return self._choice.version

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the connection."""
        return self._up.is_set()

    def start(self) -> None:
        """Connect in the background and stay connected until :meth:`stop`.

        Raises:
            UnreachableError: The broker is on another machine and plaintext is not
                allowed (``HUB-LINK-001``), or its address is unusable
                (``HUB-LINK-002``), or a file that TLS needs is (``HUB-LINK-004``).
        """
        config = self._config
        if not (
            is_loopback(config.host) or config.allow_plaintext or config.tls.enabled
        ):
            raise UnreachableError(
                "HUB-LINK-001",
                f"the broker {config.host} is not on this machine, and the connection"
                " would be in plaintext",
                cure="enable [broker.tls]; or set broker.allow_plaintext = true, only"
                " on a network you trust",
            )
        self._context = read_tls(self._config.tls)
        self._client = self._new_client()
        try:
            self._call_broker()
        except ValueError as error:
            raise UnreachableError(
                "HUB-LINK-002",
                f"not a broker address: {config.host}:{config.port} ({error})",
                cure="set broker.host and broker.port in hub.toml",
            ) from error
        self._thread.start()

    def _serve(self) -> None:
        """Be the network thread: connect again and again, in the version that works."""
        wait_s = RECONNECT_MIN_S
        while True:
            spoken = self._choice.version
            with contextlib.suppress(OSError):  # said by _run_client
                self._run_client()
                self._choice.note(self._answer)
            if self._answer is Answer.ACCEPTED:
                wait_s = RECONNECT_MIN_S
            self._answer = Answer.NONE
            if self._stopping.wait(wait_s):
                return
            wait_s = min(2 * wait_s, RECONNECT_MAX_S)
            with self._swap:
                if self._stopping.is_set():
                    return
                if self._choice.version != spoken:
                    self._confirmed.forget()
                    self._client = self._new_client()
                self._call_broker()

    def _run_client(self) -> None:
        """Connect and be connected until that ends; only this thread uses the socket.

        Raises:
            OSError: The broker cannot be reached.
        """
        client = self._client
        try:
            client.reconnect()
        except OSError:
            self._say_down("cannot connect")
            raise
        while client.loop() == mqtt.MQTT_ERR_SUCCESS:
            pass

    def _call_broker(self) -> None:
        host, port = self._config.host, self._config.port
        if self._choice.version != V5:
            self._client.connect_async(host, port, KEEPALIVE_S)
            return
        wanted = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wanted.SessionExpiryInterval = SESSION_S if self._persistent else 0
        wanted.ReceiveMaximum = MAX_INFLIGHT
        fresh = not self._persistent
        self._client.connect_async(
            host, port, KEEPALIVE_S, clean_start=fresh, properties=wanted
        )

    def wait_up(self, timeout_s: float) -> bool:
        """Wait until connected, at most ``timeout_s``."""
        return self._up.wait(timeout_s)

    def stop(self) -> None:
        """Send what is queued, say goodbye and end the network thread."""
        with self._swap:
            self._stopping.set()
            self._client.disconnect()
        deadline = time.monotonic() + STOP_S
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(STOP_AGAIN_S)
            # One that was just connecting has not noticed.
            self._client.disconnect()
        self._up.clear()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        expires_s: float = 0.0,
        timeout_s: float = 5,
    ) -> bool:
        """Publish at QoS 1 and wait for the broker.

        With MQTT 5 the broker drops what it could not deliver in ``expires_s`` (0:
        never), and may refuse a message, which is logged once.

        Returns:
            Whether a PUBACK that is no refusal came in time. Always ``False`` where it
            cannot be waited for: without a connection (nothing is sent), and on the
            network thread (the message goes out unconfirmed).
        """
        if not self.connected:
            return False
        waits = threading.get_ident() != self._network_thread
        return self._confirmed.publish(
            self._client,
            Outgoing(topic=topic, payload=payload, retain=retain, expires_s=expires_s),
            timeout_s=timeout_s if waits else 0.0,
        )

    def send(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0 and go on: for what the receiver will ask for again."""
        if self.connected:
            self._client.publish(topic, payload, qos=0)

    def send_through(self, topic: str, payload: bytes) -> bool:
        """Publish at QoS 0 and wait until it is on the socket; tell whether it is."""
        if not self.connected:
            return False
        info = self._client.publish(topic, payload, qos=0)
        try:
            info.wait_for_publish(SEND_S)
        except (RuntimeError, ValueError):
            return False
        return info.is_published()

    def _connected(
        self,
        client: mqtt.Client,
        _userdata: Any,  # noqa: ANN401 - paho's signature
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        properties: object,
    ) -> None:
        if reason.is_failure:
            unknown = reason.value == UNSUPPORTED_VERSION
            self._answer = Answer.WRONG_VERSION if unknown else Answer.REFUSED
            if not unknown or self._config.protocol != "auto":
                log.error(LINK_REFUSED, extra={"reason": str(reason)})
            return
        self._answer = Answer.ACCEPTED
        self._confirmed.limits = read_limits(properties)
        self._generation += 1
        self._network_thread = threading.get_ident()
        self._subscribe(client)
        self._said_down = False
        self._up.set()
        facts = {"host": self._config.host, "port": self._config.port}
        log.info(LINK_UP, extra={**facts, "mqtt": self._choice.version})
        self._on_up()

    def _subscribe(self, client: mqtt.Client) -> None:
        """Ask for what is wanted, and no longer for what the session once was for."""
        batches = [(topics.any_up(), int(self._config.batch_qos))]
        control = [
            (topics.any_leaf(leaf), 1) for leaf in (Leaf.PRESENCE, Leaf.REPORTED)
        ]
        control.append((topics.any_leaf(Leaf.BLOCK_GET), 0))
        for wanted, filters in (
            (self._on_batch, batches),
            (self._on_control, control),
        ):
            if wanted is not None:
                client.subscribe(filters)
            elif self._persistent:
                client.unsubscribe([name for name, _ in filters])

    def _disconnected(
        self,
        _client: mqtt.Client,
        _userdata: Any,  # noqa: ANN401 - paho's signature
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        self._up.clear()
        if reason.is_failure:
            self._say_down(str(reason))

    def _say_down(self, reason: str) -> None:
        """Log the loss once; it is retried without end and without noise."""
        if not self._said_down:
            self._said_down = True
            log.warning(LINK_DOWN, extra={"reason": reason, "host": self._config.host})

    def _subscribed(
        self,
        _client: mqtt.Client,
        _userdata: Any,  # noqa: ANN401 - paho's signature
        _mid: int,
        reasons: list[ReasonCode],
        _properties: object,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            log.error(
                LINK_REFUSED, extra={"reason": "the broker denies a subscription"}
            )

    def _message(
        self, client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage
    ) -> None:
        done = partial(self._acknowledge, self._generation, message.mid, message.qos)
        payload = bytes(message.payload)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            done()
            return
        address = topics.parse(topic)
        if address is None or isinstance(address.kind, Lane):
            if self._on_batch is None:
                done()
            else:
                self._on_batch(topic, payload, done)
            return
        if payload and self._on_control is not None:
            self._on_control(address, payload)
        client.ack(message.mid, message.qos)

    def _acknowledge(self, generation: int, mid: int, qos: int) -> None:
        if generation == self._generation and self.connected:
            self._client.ack(mid, qos)

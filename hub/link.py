"""The hub's connection to the MQTT broker: the only file of the hub that imports paho.

It decides nothing about content. Its invariants:

* A PUBACK goes out only when the receiver says so (``done()``), and only on the
  connection that the message came by: packet identifiers start anew on each.
* Nothing waits on the network thread, so the callbacks given here must be quick.
* Plaintext leaves this machine only with ``allow_plaintext``; TLS checks the host.

MQTT 3.1.1 with a persistent session is all it needs of a broker. ``hub/service.py``
owns the one instance.
"""

import ipaddress
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.base.tls import client_context
from edge_agent.wire import topics
from edge_agent.wire.topics import Address, Lane, Leaf
from hub.config import BrokerConfig
from hub.errors import UnreachableError

log = logging.getLogger(__name__)

LINK_UP = "link.up"
LINK_DOWN = "link.down"
LINK_REFUSED = "link.refused"

KEEPALIVE_S = 30
MAX_QUEUED = 10_000
MAX_INFLIGHT = 100
RECONNECT_MIN_S = 0.1
"""Short: what waits in the broker meanwhile is what it may deliver twice."""
RECONNECT_MAX_S = 5

Done = Callable[[], None]
OnBatch = Callable[[str, bytes, Done], None]
OnControl = Callable[[Address, bytes], None]


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` names this machine, so that plaintext never leaves it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
        on_batch: OnBatch,
        on_control: OnControl,
        on_up: Callable[[], None],
        persistent: bool = True,
    ) -> None:
        """Prepare the client; nothing is sent before :meth:`start`.

        ``persistent`` is for the one hub; who only looks on leaves no session behind.
        """
        self._config = config
        self._on_batch, self._on_control, self._on_up = on_batch, on_control, on_up
        self._up = threading.Event()
        self._said_down = False
        self._generation = 0
        self._network_thread = 0
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=config.client_id,
            clean_session=not persistent,
            protocol=mqtt.MQTTv311,
            manual_ack=True,
        )
        client.max_queued_messages_set(MAX_QUEUED)
        client.max_inflight_messages_set(MAX_INFLIGHT)
        # paho computes with it, and asks for an int in its annotation only.
        client.reconnect_delay_set(RECONNECT_MIN_S, RECONNECT_MAX_S)  # type: ignore[arg-type]
        client.on_connect = self._connected
        client.on_connect_fail = self._connect_failed
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_message = self._message

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
        self._use_tls()
        try:
            self._client.connect_async(config.host, config.port, KEEPALIVE_S)
        except ValueError as error:
            raise UnreachableError(
                "HUB-LINK-002",
                f"not a broker address: {config.host}:{config.port} ({error})",
                cure="set broker.host and broker.port in hub.toml",
            ) from error
        self._client.loop_start()

    def _use_tls(self) -> None:
        tls = self._config.tls
        if not tls.enabled:
            return
        try:
            context = client_context(tls.ca, tls.cert, tls.key)
        except OSError as error:
            raise UnreachableError(
                "HUB-LINK-004",
                f"TLS to the broker cannot be used: {error}",
                cure="check ca, cert and key of [broker.tls] in hub.toml",
            ) from error
        self._client.tls_set_context(context)

    def wait_up(self, timeout_s: float) -> bool:
        """Wait until connected, at most ``timeout_s``."""
        return self._up.wait(timeout_s)

    def stop(self) -> None:
        """Send what is queued, say goodbye and end the network thread."""
        self._client.disconnect()
        self._client.loop_stop()
        self._up.clear()

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, timeout_s: float = 5
    ) -> bool:
        """Publish at QoS 1 and wait for the broker.

        Returns:
            Whether the PUBACK came in time. Always ``False`` where it cannot be
            waited for: without a connection (nothing is sent), and on the network
            thread (the message goes out unconfirmed).
        """
        if not self.connected:
            return False
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            return False
        if threading.get_ident() == self._network_thread:
            return False
        try:
            info.wait_for_publish(timeout_s)
        except (RuntimeError, ValueError):
            return False
        return info.is_published()

    def send(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0 and go on: for what the receiver will ask for again."""
        if self.connected:
            self._client.publish(topic, payload, qos=0)

    def _connected(
        self,
        client: mqtt.Client,
        _userdata: Any,  # noqa: ANN401 - paho's signature
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if reason.is_failure:
            log.error(LINK_REFUSED, extra={"reason": str(reason)})
            return
        self._generation += 1
        self._network_thread = threading.get_ident()
        client.subscribe(
            [
                (topics.any_up(), int(self._config.batch_qos)),
                (topics.any_leaf(Leaf.PRESENCE), 1),
                (topics.any_leaf(Leaf.REPORTED), 1),
            ]
        )
        self._said_down = False
        self._up.set()
        log.info(LINK_UP, extra={"host": self._config.host, "port": self._config.port})
        self._on_up()

    def _connect_failed(self, _client: mqtt.Client, _userdata: object) -> None:
        self._say_down("cannot connect")

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
            self._on_batch(topic, payload, done)
            return
        if payload:
            self._on_control(address, payload)
        client.ack(message.mid, message.qos)

    def _acknowledge(self, generation: int, mid: int, qos: int) -> None:
        if generation == self._generation and self.connected:
            self._client.ack(mid, qos)

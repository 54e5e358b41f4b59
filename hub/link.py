"""The hub's connection to the MQTT broker.

Only it, ``hub/broker_client.py`` and ``hub/confirmed.py`` import paho in the hub. It
decides nothing about content. Its invariants:

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
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.base.mqtt_version import (
    UNSUPPORTED_VERSION,
    Answer,
    Version,
    VersionChoice,
    read_limits,
)
from edge_agent.wire import topics
from edge_agent.wire.topics import Address, Lane, Leaf
from hub.broker_client import Session, require_safe
from hub.broker_tls import read_tls
from hub.config import BrokerConfig
from hub.confirmed import LINK_REFUSED, Confirmed, Outgoing
from hub.errors import UnreachableError
from hub.listening import Filters, Listening
from hub.rivals import Rivals, say_rival

log = logging.getLogger(__name__)

LINK_UP = "link.up"
LINK_DOWN = "link.down"

STOP_S = 10.0
STOP_AGAIN_S = 0.5
RECONNECT_MIN_S = 0.1
"""Short: what waits in the broker meanwhile is what it may deliver twice."""
RECONNECT_MAX_S = 5

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
        self._listening = Listening()
        self._rivals = Rivals(config.client_id)
        self._own_root: Callable[[], bytes] | None = None
        self._up_at = 0.0
        self._renew = False
        self._swap = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="mqtt", daemon=True)
        self._context: ssl.SSLContext | None = None
        self._client = self._new_client()

    def _new_client(self) -> mqtt.Client:
        client = self._session().make_client(self._context)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_message = self._message
        client.on_publish = self._confirmed.on_publish
        return client

    def _session(self) -> Session:
        return Session(
            config=self._config,
            version=self._choice.version,
            persistent=self._persistent,
        )

    def watch_metadata(self, own_root: Callable[[], bytes]) -> None:
        """Look, from :meth:`start` on, whether a hub with another root is there.

        ``own_root`` gives the first version of this hub's root, as it is published.
        """
        self._own_root = own_root

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
        require_safe(config)
        self._context = read_tls(config.tls)
        self._client = self._new_client()
        try:
            self._session().call_broker(self._client)
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
            if self._stopping.wait(max(wait_s, self._rivals.wait_s)):
                return
            wait_s = min(2 * wait_s, RECONNECT_MAX_S)
            with self._swap:
                if self._stopping.is_set():
                    return
                if self._choice.version != spoken or self._renew:
                    self._renew = False
                    self._confirmed.forget()
                    self._client = self._new_client()
                self._session().call_broker(self._client)

    def _run_client(self) -> None:
        """Connect and be connected until that ends; only this thread uses the socket.

        Raises:
            OSError: The broker cannot be reached.
        """
        client = self._client
        try:
            client.reconnect()
        except OSError:
            self._rivals.note_unreachable()
            self._say_down("cannot connect")
            raise
        while client.loop() == mqtt.MQTT_ERR_SUCCESS:
            pass

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

    def fits(self, topic: str, payload: bytes) -> bool:
        """Tell whether a message is within what the broker takes, as far as known."""
        return self._confirmed.fits(topic, payload)

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
        self._up_at = time.monotonic()
        self._up.set()
        facts = {"host": self._config.host, "port": self._config.port}
        log.info(LINK_UP, extra={**facts, "mqtt": self._choice.version})
        self._on_up()

    def hear(self, devices: Collection[str] | None) -> None:
        """Listen to the batches of these devices only, from now on (``None``: all).

        What is not listened to, the broker drops. Without a connection it holds from
        the next one on.
        """
        wanted, unwanted = self._listening.change(devices)
        if self._on_batch is not None:
            self._switch(self._client, wanted, unwanted)

    def _switch(self, client: mqtt.Client, wanted: Filters, unwanted: Filters) -> None:
        for names in wanted:
            qos = int(self._config.batch_qos)
            client.subscribe([(name, qos) for name in names])
        for names in unwanted:
            client.unsubscribe(names)

    def _subscribe(self, client: mqtt.Client) -> None:
        """Ask for what is wanted, and no longer for what the session once was for."""
        here, gone = self._listening.present(), self._listening.absent()
        if self._on_batch is not None:
            self._switch(client, here, gone)
        elif self._persistent:
            self._switch(client, [], here)
        leaves = [topics.any_leaf(leaf) for leaf in (Leaf.PRESENCE, Leaf.REPORTED)]
        requests = topics.any_leaf(Leaf.BLOCK_GET)
        if self._on_control is not None:
            client.subscribe([*((name, 1) for name in leaves), (requests, 0)])
        elif self._persistent:
            client.unsubscribe([*leaves, requests])
        if self._own_root is not None:
            client.subscribe(topics.HUB_TUF, 0)

    def _disconnected(
        self,
        _client: mqtt.Client,
        _userdata: Any,  # noqa: ANN401 - paho's signature
        flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        was_up = self._up.is_set()
        self._up.clear()
        if not reason.is_failure:
            return
        self._say_down(str(reason))
        said: int | None = (
            reason.value if flags.is_disconnect_packet_from_server else None
        )
        if was_up and said is None and self._confirmed.note_closed():
            self._renew = True  # paho would send it again at each connection
            return
        if was_up:
            lived_s = time.monotonic() - self._up_at
            say_rival(self._rivals.note_end(said, lived_s))

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
            facts = {"reason": "the broker denies a subscription"}
            log.error(LINK_REFUSED, extra=facts)

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
        if topic == topics.HUB_TUF and self._own_root is not None:
            say_rival(self._rivals.note_metadata(payload, self._own_root()))
            done()
            return
        address = topics.parse(topic)
        if address is None or isinstance(address.kind, Lane):
            self._take_batch(client, message, topic, done)
            return
        if payload and self._on_control is not None:
            self._on_control(address, payload)
        client.ack(message.mid, message.qos)

    def _take_batch(
        self, client: mqtt.Client, message: mqtt.MQTTMessage, topic: str, done: Done
    ) -> None:
        """Hand a batch on. One that is retained is none: it is cleared away."""
        if message.retain:
            client.publish(topic, b"", qos=0, retain=True)
        if self._on_batch is None or message.retain or not message.payload:
            done()
        else:
            self._on_batch(topic, bytes(message.payload), done)

    def _acknowledge(self, generation: int, mid: int, qos: int) -> None:
        if generation == self._generation and self.connected:
            self._client.ack(mid, qos)

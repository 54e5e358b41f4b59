"""A connection to the broker on which anything may be said."""

import ssl
import threading
import time
from collections import deque

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.base.tls import client_context

WAIT_S = 20.0
KEPT = 200
"""Messages that are remembered: the newest tell all that is asked."""


class Wire:
    """One client with a certificate; it does not connect again by itself."""

    def __init__(
        self,
        client_id: str,
        port: int,
        files: tuple[str, ...],
        *,
        will: tuple[str, bytes] | None = None,
        version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311,
    ) -> None:
        """Connect; ``accepted`` tells whether the broker let it in."""
        self.inbox: deque[tuple[str, bytes]] = deque(maxlen=KEPT)
        self._answered, self._granted = threading.Event(), threading.Event()
        self._news, self._refused = threading.Event(), False
        self.ended = threading.Event()
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=version,
            reconnect_on_failure=False,
        )
        client.tls_set_context(client_context(*files))
        client.max_inflight_messages_set(100)
        if will is not None:
            client.will_set(*will, qos=1, retain=True)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = lambda *_: self._granted.set()
        client.on_message = self._message
        try:
            client.connect("localhost", port, 60)
        except (ssl.SSLError, OSError):
            self._refused = True
            self._answered.set()
            self.ended.set()
            return
        client.loop_start()

    @property
    def accepted(self) -> bool:
        """Whether the broker let it in; waits for the answer."""
        self._answered.wait(WAIT_S)
        return self._answered.is_set() and not self._refused

    def subscribe(self, *filters: str) -> None:
        """Subscribe and wait for the answer."""
        self._granted.clear()
        self._client.subscribe([(each, 1) for each in filters])
        self._granted.wait(WAIT_S)

    def say(
        self, topic: str, payload: bytes, *, keep: bool = False, qos: int = 1
    ) -> bool:
        """Publish and wait until the broker has it; tell whether it has."""
        info = self._client.publish(topic, payload, qos=qos, retain=keep)
        try:
            deadline = time.monotonic() + WAIT_S
            while not info.is_published() and not self.ended.is_set():
                info.wait_for_publish(0.1)
                if time.monotonic() > deadline:
                    break
        except (RuntimeError, ValueError):
            return False
        return info.is_published()

    def send(self, topic: str, payload: bytes, qos: int = 1) -> None:
        """Publish and go on."""
        self._client.publish(topic, payload, qos=qos)

    def wait(self, limit_s: float) -> None:
        """Wait for the next message, at most so long."""
        self._news.wait(limit_s)
        self._news.clear()

    def close(self) -> None:
        """End the connection in order."""
        self._client.disconnect()
        self._client.loop_stop()

    def drop(self) -> None:
        """End the connection without a word, so that the broker sends the will."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        self._client.loop_stop()

    def _connected(
        self, _client: object, _data: object, _flags: object, reason: object, _: object
    ) -> None:
        self._refused = bool(getattr(reason, "is_failure", True))
        self._answered.set()

    def _disconnected(self, *_: object) -> None:
        self._refused |= not self._answered.is_set()
        self._answered.set()
        self.ended.set()

    def _message(
        self, _client: object, _data: object, message: mqtt.MQTTMessage
    ) -> None:
        self.inbox.append((message.topic, bytes(message.payload)))
        self._news.set()

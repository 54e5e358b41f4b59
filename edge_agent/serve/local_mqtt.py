"""A connection to an MQTT broker near the device: samples in, predictions out.

Apart from the link to the hub in everything: its own broker, its own client, no
session kept. Invariants: reconnecting is paced with full jitter until :meth:`stop`;
paho never holds a backlog of what is to be sent; its thread only hands messages over.
"""

import logging
import random
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.base.backoff import Backoff
from edge_agent.config_flows import LocalBroker

LOCAL_UP = "local_broker.up"
LOCAL_DOWN = "local_broker.down"
CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 30
RETRY_FIRST_S, RETRY_MAX_S = 0.5, 30.0
WINDOW = 32
POLL_S = 0.5

log = logging.getLogger(__name__)

OnMessage = Callable[[str, bytes], None]


class LocalMqtt:
    """One client that reconnects until it is told to stop; :meth:`run` is a thread."""

    def __init__(
        self,
        config: LocalBroker,
        folder: Path,
        *,
        topic: str = "",
        on_message: OnMessage = lambda _topic, _payload: None,
    ) -> None:
        """Prepare a connection.

        Args:
            config: The broker.
            folder: What a relative ``password_file`` is relative to.
            topic: Filter to subscribe to at every connection; empty: none.
            on_message: Told topic and payload, on paho's thread.
        """
        self._config = config
        self._folder = folder
        self._topic = topic
        self._on_payload = on_message
        self._client: paho.Client | None = None
        self._up = threading.Event()
        self._lost = threading.Event()
        self._backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        self._random = random.SystemRandom()
        self.sessions = 0
        self.problem = "not connected yet"
        """Why there is no connection, or empty."""

    def run(self, stop: threading.Event) -> None:
        """Connect and reconnect until told to stop."""
        while not stop.is_set():
            self._lost.clear()
            if self._connect():
                while not stop.is_set() and not self._lost.wait(POLL_S):
                    pass
                self._disconnect()
            stop.wait(self._backoff.next_s(self._random.random()))

    def publish(self, topic: str, payload: bytes, timeout_s: float) -> bool:
        """Publish with QoS 1 and wait until the broker has it; false: it has not."""
        if not self._up.wait(timeout_s) or (client := self._client) is None:
            return False
        info = client.publish(topic, payload, qos=1)
        if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        try:
            info.wait_for_publish(timeout_s)
        except (RuntimeError, ValueError):
            return False
        return info.is_published()

    def _connect(self) -> bool:
        config = self._config
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"shoal-{secrets.token_hex(6)}",
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(WINDOW)
        client.max_queued_messages_set(WINDOW)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        try:
            if config.username:
                client.username_pw_set(config.username, self._password())
            client.connect(config.host, config.port, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            self._say_down(str(error))
            return False
        self._client = client
        client.loop_start()
        return True

    def _password(self) -> str | None:
        file = self._config.password_file
        return (self._folder / file).read_text("utf-8").strip() if file else None

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        self._up.clear()
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _on_connect(
        self,
        client: paho.Client,
        _userdata: Any,  # noqa: ANN401 - paho's interface
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if reason.is_failure:
            self._say_down(str(reason))
            self._lost.set()
            return
        if self._topic:
            client.subscribe(self._topic, qos=1)
        self._backoff.reset()
        self.sessions += 1
        self.problem = ""
        self._up.set()
        log.info(LOCAL_UP, extra={"host": self._config.host})

    def _on_subscribe(
        self,
        _client: paho.Client,
        _userdata: Any,  # noqa: ANN401 - paho's interface
        _mid: int,
        reasons: list[ReasonCode],
        _properties: object,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._say_down(f"no leave to subscribe to {self._topic}")

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: Any,  # noqa: ANN401 - paho's interface
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        self._up.clear()
        if reason.is_failure:
            self._say_down(str(reason))
        self._lost.set()

    def _on_message(
        self,
        _client: paho.Client,
        _userdata: Any,  # noqa: ANN401 - paho's interface
        message: paho.MQTTMessage,
    ) -> None:
        self._on_payload(message.topic, bytes(message.payload))

    def _say_down(self, why: str) -> None:
        where = f"{self._config.host}:{self._config.port}"
        if not self.problem or self.problem == "not connected yet":
            log.warning(LOCAL_DOWN, extra={"broker": where, "why": why})
        self.problem = f"{where}: {why}"

"""The paho client of the hub's link: how it is made, and how it calls the broker."""

import ssl
from dataclasses import dataclass

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.base.loopback import is_loopback
from edge_agent.base.mqtt_version import V5, Version
from edge_agent.wire.batch import MAX_COMPRESSED_BYTES
from hub.broker_tls import send_at_once
from hub.config import BrokerConfig
from hub.errors import UnreachableError

KEEPALIVE_S = 30
MAX_QUEUED = 10_000
MAX_INFLIGHT = 100
MAX_PACKET_BYTES = MAX_COMPRESSED_BYTES + (64 << 10)
"""The largest batch and the packet around it; the broker drops what is larger."""
SESSION_S = 24 * 3600
"""How long the broker keeps our session, and batches in it; devices keep theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a client is to the broker: who, in which version, and for how long."""

    config: BrokerConfig
    version: Version
    persistent: bool

    def make_client(self, context: ssl.SSLContext | None) -> mqtt.Client:
        """Return a client that acknowledges by hand and is not connected.

        Only the thread that steps its loop uses the socket.
        """
        is_v5 = self.version == V5
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.config.client_id,
            clean_session=None if is_v5 else not self.persistent,
            protocol=mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        if context is not None:
            client.tls_set_context(context)
        client.max_queued_messages_set(MAX_QUEUED)
        client.max_inflight_messages_set(MAX_INFLIGHT)
        client.on_socket_open = send_at_once
        # Without this whoever publishes writes to the socket, and two threads in one
        # TLS connection corrupt the memory of the process.
        client.on_socket_register_write = lambda *_: None
        return client

    def call_broker(self, client: mqtt.Client) -> None:
        """Have the client connect when its loop runs.

        Raises:
            ValueError: Host or port is none.
        """
        host, port = self.config.host, self.config.port
        if self.version != V5:
            client.connect_async(host, port, KEEPALIVE_S)
            return
        wanted = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wanted.SessionExpiryInterval = SESSION_S if self.persistent else 0
        wanted.ReceiveMaximum = MAX_INFLIGHT
        wanted.MaximumPacketSize = MAX_PACKET_BYTES
        fresh = not self.persistent
        client.connect_async(
            host, port, KEEPALIVE_S, clean_start=fresh, properties=wanted
        )


def require_safe(config: BrokerConfig) -> None:
    """Refuse to speak in plaintext with a broker on another machine.

    Raises:
        UnreachableError: It would be, and is not allowed (``HUB-LINK-001``).
    """
    if is_loopback(config.host) or config.allow_plaintext or config.tls.enabled:
        return
    raise UnreachableError(
        "HUB-LINK-001",
        f"the broker {config.host} is not on this machine, and the connection"
        " would be in plaintext",
        cure="enable [broker.tls]; or set broker.allow_plaintext = true, only"
        " on a network you trust",
    )

"""Predictions to a topic of a local broker, as JSON with QoS 1."""

import threading

import msgspec

from edge_agent.serve.local_mqtt import LocalMqtt
from edge_agent.serve.sinks.port import Notice

PUBLISH_S = 2.0


class MqttDelivery:
    """Publishes; the connection has a thread of its own."""

    def __init__(self, link: LocalMqtt, topic: str) -> None:
        """Publish to ``topic`` over a link that somebody runs."""
        self._link = link
        self._topic = topic
        self._failed = ""

    @property
    def problem(self) -> str:
        """Why nothing can be published, or empty."""
        return self._link.problem or self._failed

    def deliver(self, notice: Notice, stop: threading.Event) -> bool:
        """Publish one; while there is no broker, wait (and let the queue drop)."""
        payload = msgspec.json.encode(notice)
        while not stop.is_set():
            if self._link.publish(self._topic, payload, PUBLISH_S):
                self._failed = ""
                return True
            if not self._link.problem:
                self._failed = "the broker did not take it"
                return False
        return False

"""A real hub that only listens: its ingest, its twins, its blocks, its command line.

A scripted hub decides what a device is told; this one takes in what the device says,
so a test sees what an operator would. It has no artifact, and says so when asked.
"""

import subprocess
import sys
import threading
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.base.clock import SystemClock
from edge_agent.wire import topics
from hub.blocks import BlockServer
from hub.config import Home
from hub.home import create_home
from hub.ingest.writer import IngestWriter
from hub.service import open_services

POLL_S = 0.1


class HubEar:
    """Ingests what devices send over a broker into a home folder of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        """Make the home and listen."""
        self.home = Home(folder)
        create_home(self.home, SystemClock())
        self._services = open_services(self.home)
        self._stop = threading.Event()
        self._writer = IngestWriter(
            self._services.engine,
            self._services.clock,
            lambda topic, payload: self._client.publish(topic, payload, qos=1),
            self._services.config.ingest,
        )
        self._blocks = BlockServer(
            self.home.artifacts, self._send, self._services.clock
        )
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="ear")
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe([("shoal/v1/#", 1)])
        self._subscribed.wait(10)
        bodies = (
            lambda: self._writer.run(self._stop),
            lambda: self._blocks.run(self._stop),
            self._receive,
        )
        self._threads = [threading.Thread(target=body) for body in bodies]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._client.disconnect()
        self._client.loop_stop()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._services.engine.dispose()

    def show(self, device: str) -> str:
        """Return what ``hub devices get`` prints."""
        words = ("--home", str(self.home.path), "devices", "get", device)
        done = subprocess.run(
            [sys.executable, "-m", "hub", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        # Lines are folded to the width of a terminal.
        return " ".join((done.stdout + done.stderr).split())

    def _send(self, topic: str, payload: bytes) -> bool:
        return self._client.publish(topic, payload).rc == paho.MQTT_ERR_SUCCESS

    def _receive(self) -> None:
        while not self._stop.wait(POLL_S):
            self._services.devices.receive()

    def _on_message(
        self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage
    ) -> None:
        address = topics.parse(message.topic)
        if address is None:
            return
        payload = bytes(message.payload)
        if isinstance(address.kind, topics.Lane):
            self._writer.offer(message.topic, payload, lambda: None)
        elif address.kind is topics.Leaf.BLOCK_GET:
            self._blocks.offer(address.device, payload)
        else:
            self._services.devices.inbox.put(address, payload)

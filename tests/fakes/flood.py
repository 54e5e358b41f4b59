"""Devices that speak to a real broker: honest ones, and one that floods.

An :class:`Honest` device sends one small batch after the other and waits for each
acknowledgement. A :class:`Flooder` pushes prepared messages through a bare socket as
fast as the broker takes them.
"""

import contextlib
import socket
import struct
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.wire import codec, topics
from edge_agent.wire.batch import BatchHeader, encode_batch, encode_record
from edge_agent.wire.control import Ack
from edge_agent.wire.records import HealthRecord
from edge_agent.wire.topics import Lane, Leaf

BOOT = "0123456789abcdef"
ACK_S = 10.0
ROWS = 10
_CHUNK = 64


def header(
    lo: int, hi: int, *, lane: Lane = Lane.METRIC, boot: str = BOOT
) -> BatchHeader:
    """Return the header of a batch that leaves no gap."""
    return BatchHeader(
        boot=boot, lane=lane, base=lo - 1, lo=lo, hi=hi, wall_at=5.0, mono_s=1.0
    )


def health_batch(lo: int, hi: int) -> bytes:
    """Return a batch of small, valid records."""
    record = encode_record(HealthRecord(at=5.0, uptime_s=1.0, release=3))
    return encode_batch(header(lo, hi), [(seq, record) for seq in range(lo, hi + 1)])


def bomb(inflated: int) -> bytes:
    """Return a batch that is valid but for its size: spaces, a thousandth packed."""
    inner = msgspec.json.encode(
        {"header": msgspec.to_builtins(header(2, 1)), "kinds": {}}
    )
    return zlib.compress(inner[:-1] + b" " * (inflated - len(inner)) + b"}", 9)


@dataclass
class Honest:
    """A device that sends a batch every ``pause_s`` and times each acknowledgement."""

    port: int
    name: str
    pause_s: float = 0.05
    taken: list[float] = field(default_factory=list)
    """Seconds from each batch to its acknowledgement; ``ACK_S`` where none came."""

    def __post_init__(self) -> None:
        """Connect."""
        self._acked = threading.Condition()
        self._upto = 0
        self._next = 1
        self._stop = threading.Event()
        self._granted = threading.Event()
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self.name
        )
        client.on_message = self._on_ack
        client.on_subscribe = lambda *_: self._granted.set()
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        client.subscribe(topics.leaf(self.name, Leaf.ACK), 1)
        assert self._granted.wait(ACK_S)

    def send(self, count: int) -> list[float]:
        """Send ``count`` batches, one after the other; return the waits of these."""
        first = len(self.taken)
        for _ in range(count):
            lo, hi = self._next, self._next + ROWS - 1
            began = time.monotonic()
            self._client.publish(
                topics.up(self.name, Lane.METRIC), health_batch(lo, hi), qos=1
            )
            with self._acked:
                came = self._acked.wait_for(partial(self._has, hi), ACK_S)
            self.taken.append(time.monotonic() - began if came else ACK_S)
            if not came:
                break  # the same again at the next call, as a device would
            self._next = hi + 1
            self._stop.wait(self.pause_s)
        return self.taken[first:]

    def _has(self, seq: int) -> bool:
        return self._upto >= seq

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_ack(
        self, _client: object, _data: object, message: mqtt.MQTTMessage
    ) -> None:
        ack = codec.decode(bytes(message.payload), Ack)
        with self._acked:
            self._upto = max(self._upto, ack.upto)
            self._acked.notify_all()


def send_all(devices: Sequence[Honest], count: int) -> list[float]:
    """Let all devices send ``count`` batches at once; return all waits, sorted."""
    waits: list[list[float]] = [[] for _ in devices]

    def run(place: int) -> None:
        waits[place] = devices[place].send(count)

    threads = [
        threading.Thread(target=run, args=(place,)) for place in range(len(devices))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(wait for one in waits for wait in one)


def percentile(waits: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of sorted waits do not exceed."""
    return waits[min(len(waits) - 1, int(share * len(waits)))]


class Flooder:
    """Pushes payloads in turn, without end, until it is closed.

    64 of them every ``pause_s``; 0: as fast as the broker takes them.
    """

    def __init__(
        self,
        port: int,
        name: str,
        payloads: Sequence[bytes],
        *,
        pause_s: float = 0.0,
    ) -> None:
        """Connect and begin."""
        self.sent = 0
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(_connect(name))
        self._socket.recv(4)
        topic = topics.up(name, Lane.METRIC).encode()
        self._packets = [_publish(topic, payload) for payload in payloads]
        self._threads = [
            threading.Thread(target=self._push, daemon=True),
            threading.Thread(target=self._drain, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _push(self) -> None:
        chunk = b"".join(
            self._packets[place % len(self._packets)]
            for place in range(max(_CHUNK, len(self._packets)))
        )
        with contextlib.suppress(OSError):
            while not self._stop.is_set():
                self._socket.sendall(chunk)
                self.sent += max(_CHUNK, len(self._packets))
                self._stop.wait(self._pause_s)

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket.recv(1 << 16):
                pass


def _connect(name: str) -> bytes:
    client = name.encode()
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack(">H", len(client)) + client
    return b"\x10" + _length(len(body)) + body


def _publish(topic: bytes, payload: bytes) -> bytes:
    body = struct.pack(">H", len(topic)) + topic + b"\x00\x01" + payload
    return b"\x32" + _length(len(body)) + body


def _length(size: int) -> bytes:
    out = bytearray()
    while True:
        size, low = divmod(size, 128)
        out.append(low | (0x80 if size else 0))
        if not size:
            return bytes(out)

"""A front before a real broker that knows no MQTT 5, as older brokers answer it."""

import contextlib
import socket
import threading
from collections.abc import Iterator

OLD_REFUSAL = b"\x20\x02\x00\x01"
"""CONNACK of 3.1.1: unacceptable protocol version."""
NEW_REFUSAL = b"\x20\x03\x00\x84\x00"
"""CONNACK of MQTT 5: unsupported protocol version."""
_LEVEL_AT = 8
_V5 = 5


class OldBroker:
    """Answers ``refusal`` to a CONNECT of MQTT 5 and hands all else on to ``port``."""

    def __init__(self, port: int, refusal: bytes) -> None:
        """Listen on a free loopback port."""
        self._target = ("127.0.0.1", port)
        self._refusal = refusal
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._server.getsockname()[1]
        self.connects: list[bytes] = []
        """The first packet of every connection."""
        self._thread = threading.Thread(target=self._accept, name="front", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End every connection."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self._open.append(client)
                self._greet(client)

    def _greet(self, client: socket.socket) -> None:
        first = client.recv(4096)
        self.connects.append(first)
        # Type, remaining length (one or two bytes), "MQTT" with its length, level.
        level = first[_LEVEL_AT + (first[1] > 0x7F)]
        if level == _V5 and self._refusal:
            client.sendall(self._refusal)
            client.shutdown(socket.SHUT_WR)
            return
        broker = socket.create_connection(self._target)
        self._open.append(broker)
        broker.sendall(first)
        for source, sink in ((client, broker), (broker, client)):
            threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def old_broker(port: int, refusal: bytes) -> Iterator[OldBroker]:
    """Run a front until the block ends."""
    front = OldBroker(port, refusal)
    try:
        yield front
    finally:
        front.close()

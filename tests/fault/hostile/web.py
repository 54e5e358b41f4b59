"""The hub's HTTP server, asked well or badly, from any address of this machine."""

import re
import socket
import ssl
from dataclasses import dataclass

WAIT_S = 20.0
BRIEF_S = 2.0
"""Who floods does not wait."""
LOCAL = "127.0.0.1"
STRANGER = "127.0.0.2"
"""Another address, as far as a server can tell."""


@dataclass(frozen=True, slots=True)
class Web:
    """Where the server is, and a context that trusts it."""

    port: int
    context: ssl.SSLContext

    def plain(self, source: str = STRANGER, limit_s: float = BRIEF_S) -> socket.socket:
        """Return a connection on which nothing has been said."""
        return socket.create_connection((LOCAL, self.port), limit_s, (source, 0))

    def secure(self, source: str = STRANGER, limit_s: float = WAIT_S) -> ssl.SSLSocket:
        """Return a connection after its handshake."""
        plain = self.plain(source, limit_s)
        try:
            return self.context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    def text(self, request: bytes, source: str = STRANGER) -> str:
        """Send a request as it is and return the answer; empty if there is none."""
        answer = b""
        try:
            with self.secure(source) as connection:
                connection.sendall(request)
                while chunk := connection.recv(4096):
                    answer += chunk
        except OSError:
            pass
        return answer.decode("latin-1")

    def send(self, request: bytes, source: str = STRANGER) -> int:
        """Send a request as it is and return the status; 0 if there is no answer."""
        parts = self.text(request, source).split(" ", 2)
        return int(parts[1]) if len(parts) > 2 else 0

    def repeat(self, path: str, body: bytes, times: int, source: str) -> set[int]:
        """Post a document so often on one connection; return the statuses."""
        request = _head("POST", path, len(body)).replace(b"close", b"keep-alive") + body
        last = _head("POST", path, len(body)) + body
        text = self.text(request * (times - 1) + last, source)
        return {int(found) for found in re.findall(r"HTTP/1.1 (\d{3}) ", text)}

    def get(self, path: str, source: str = STRANGER) -> int:
        """Ask for a path and return the status."""
        return self.send(_head("GET", path, 0), source)

    def post(self, path: str, body: bytes, source: str = STRANGER) -> int:
        """Post a document and return the status."""
        return self.send(_head("POST", path, len(body)) + body, source)

    def healthy(self) -> bool:
        """Tell whether the hub answers, and has its broker."""
        answer = self.text(_head("GET", "/healthz", 0), LOCAL)
        return " 200 " in answer[:16] and '"broker":true' in answer


def _head(method: str, path: str, length: int) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()

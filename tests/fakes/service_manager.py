"""A service manager's end of ``NOTIFY_SOCKET``, on a real datagram socket."""

import socket


class ServiceManagerSocket:
    """Hears what a service says of itself."""

    def __init__(self, path: str) -> None:
        """Listen at ``path``; a leading @ stands for a null byte."""
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + path[1:] if path[0] == "@" else path)

    def heard(self) -> list[str]:
        """Return what came since the last call."""
        self._socket.setblocking(False)
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

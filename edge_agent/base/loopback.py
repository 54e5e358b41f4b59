"""Whether an address is this machine: plaintext goes no further without leave."""

import contextlib
import socket

_IPV4, _IPV6 = b"\x7f", bytes(15) + b"\1"


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine."""
    if host == "localhost":
        return True
    # The kernel's own reading; ``ipaddress`` would be loaded for this alone.
    with contextlib.suppress(OSError, ValueError):
        return socket.inet_pton(socket.AF_INET, host).startswith(_IPV4)
    with contextlib.suppress(OSError, ValueError):
        return socket.inet_pton(socket.AF_INET6, host) == _IPV6
    return False

"""The socket to the broker: TLS from the files that are configured, and no delay."""

import socket
import ssl

from edge_agent.base.tls import client_context
from hub.config import TlsConfig
from hub.errors import UnreachableError


def read_tls(tls: TlsConfig) -> ssl.SSLContext | None:
    """Return the context of the connection; ``None`` where TLS is not enabled.

    Raises:
        UnreachableError: A file cannot be used (``HUB-LINK-004``).
    """
    if not tls.enabled:
        return None
    try:
        return client_context(tls.ca, tls.cert, tls.key)
    except OSError as error:
        raise UnreachableError(
            "HUB-LINK-004",
            f"TLS to the broker cannot be used: {error}",
            cure="check ca, cert and key of [broker.tls] in hub.toml",
        ) from error


def send_at_once(_client: object, _userdata: object, opened: object) -> None:
    """Keep the kernel from holding acknowledgements back for larger packets."""
    if isinstance(opened, socket.socket):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

"""Sockets to listen on: a Unix socket of its owner's, or a port of this machine's."""

import socket
from pathlib import Path

from edge_agent.errors import WorkerError
from edge_agent.serve.socket_path import socket_address

BACKLOG = 16
CANNOT_LISTEN = "AGENT-WORKER-003"


def listen_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket that only its owner may open.

    One that nobody listens on any more is removed first.

    Raises:
        WorkerError: Another process serves there (``AGENT-WORKER-011``), or the
            socket cannot be made (``AGENT-WORKER-003``).
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_address(path) as address:
            _remove_stale(path, address)
            listener.bind(address)
        # Nobody can connect before listen(), so there is no gap before the chmod.
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise WorkerError(CANNOT_LISTEN, f"cannot listen on {path}: {error}") from error
    except WorkerError:
        listener.close()
        raise
    return listener


def listen_tcp(host: str, port: int) -> socket.socket:
    """Listen on a TCP port (0: any that is free).

    Raises:
        WorkerError: It cannot be had (``AGENT-WORKER-003``).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # The port of a worker that was killed is free again at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise WorkerError(
            CANNOT_LISTEN,
            f"cannot listen on {host}:{port}: {error}",
            cure="another program has the port: choose one in [api] of agent.toml",
        ) from error
    return listener


def _remove_stale(path: Path, address: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise WorkerError(
        "AGENT-WORKER-011",
        f"another process already serves {path}",
        cure="stop the other agent, or give this one its own device.state_dir",
    )

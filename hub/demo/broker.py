"""The demo's broker on a free loopback port: mosquitto, or iotcore where there is none.

As a program (``python -m hub.demo.broker PORT``) this is the iotcore broker alone.
"""

import os
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path

from hub.demo.processes import Processes
from hub.demo.waiting import wait_until

IOTCORE = "iotcore"
_PLACES = os.pathsep.join(["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"])
_MAX_PAYLOAD_BYTES = 4 << 20


def free_port() -> int:
    """Return a TCP port that is free on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_broker(processes: Processes, folder: Path, kind: str) -> tuple[int, str]:
    """Start a broker and wait until it listens.

    Args:
        processes: Where the process is registered.
        folder: For its configuration.
        kind: ``mosquitto``, ``iotcore``, or ``auto``: mosquitto if installed.

    Returns:
        Its port and its name.

    Raises:
        WaitTimeoutError: It does not listen within ten seconds.
    """
    port = free_port()
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=_PLACES)
    if kind == IOTCORE or (kind == "auto" and found is None):
        name, argv = IOTCORE, [sys.executable, "-m", "hub.demo.broker", str(port)]
    else:
        name = "mosquitto"
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "max_inflight_messages 100\nmax_queued_messages 10000\n",
            "utf-8",
        )
        argv = [found or "mosquitto", "-c", str(config)]
    processes.start("broker", argv)
    wait_until(
        lambda: _listens(port), "the broker to listen", timeout_s=10, check=processes
    )
    return port, name


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def serve_iotcore(port: int) -> None:
    """Run the iotcore broker until SIGTERM."""
    from iotcore import Broker

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    broker = Broker(
        port=port,
        listen="127.0.0.1",
        max_payload_size=_MAX_PAYLOAD_BYTES,
        max_inflight_count=200,
    )
    broker.start()
    stop.wait()
    broker.stop()


if __name__ == "__main__":
    serve_iotcore(int(sys.argv[1]))

"""One device floods a real hub through a real broker; the others are served."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from edge_agent.base.clock import SystemClock
from edge_agent.wire import topics
from edge_agent.wire.topics import Lane
from hub.config import Home
from hub.home import create_home
from hub.identity.broker import bounds
from hub.service import open_services
from hub.storage import poison
from tests.fakes.flood import ACK_S, Flooder, Honest, bomb, percentile, send_all
from tests.hub_broker import free_port, mosquitto

BATCHES = 25
FLOOR_S = 0.5
"""What a machine with both cores busy may take for itself."""
SOON_S = 20.0
START_S = 90.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """Run mosquitto within the bounds that ``hub broker config`` writes."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with mosquitto(folder, "\n".join(bounds()) + "\n") as port:
        yield port


@pytest.fixture
def home(tmp_path: Path, broker: int) -> Iterator[Home]:
    """Run a hub on that broker."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    port = free_port()
    home.config_file.write_text(
        f"[broker]\nport = {broker}\n[api]\nport = {port}\n", "utf-8"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "hub", "--home", str(home.path), "serve"],
        stderr=subprocess.DEVNULL,
    )
    deadline, pause = time.monotonic() + START_S, threading.Event()
    try:
        while not _is_connected(port):
            assert process.poll() is None, "the hub has ended"
            assert time.monotonic() < deadline, "the hub does not connect"
            pause.wait(0.05)
        yield home
    finally:
        process.send_signal(signal.SIGTERM)
        ended = process.wait(SOON_S)
    assert ended == 0


def _is_connected(port: int) -> bool:
    try:
        health = httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=1).json()
    except httpx.HTTPError:
        return False
    return bool(health["broker"])


def test_while_one_device_floods_the_others_are_acknowledged_as_ever(
    home: Home, broker: int
) -> None:
    """Bombs of 8 KiB without end: once its allowance is spent, p99 is within 3x."""
    devices = [Honest(broker, f"honest-{number}", 0.02) for number in range(3)]
    assert max(send_all(devices, 1)) < ACK_S, "the hub does not answer"
    calm = send_all(devices, BATCHES)

    with closing(Flooder(broker, "flood", [bomb(8 << 20)], pause_s=0.2)) as flooder:
        spent_by = time.monotonic() + SOON_S
        at_first = send_all(devices, 2)
        while flooder.sent < 1000:
            assert time.monotonic() < spent_by
            at_first += send_all(devices, 1)
        meanwhile = send_all(devices, BATCHES)
    for device in devices:
        device.close()

    assert max(at_first) < ACK_S
    limit = max(3 * percentile(calm, 0.99), FLOOR_S)
    assert percentile(meanwhile, 0.99) <= limit, (calm, meanwhile)
    services = open_services(home)
    with services.engine.connect() as connection:
        kept = poison.list_poison(connection)
    services.engine.dispose()
    assert {row.topic for row in kept} == {topics.up("flood", Lane.METRIC)}
    assert len(kept) <= poison.MAX_ROWS_A_DEVICE


def test_a_flood_at_full_speed_is_cut_off_at_the_broker(
    home: Home, broker: int
) -> None:
    """Tens of thousands of messages a second: the others' batches come through."""
    devices = [Honest(broker, f"honest-{number}", 0.02) for number in range(2)]
    assert max(send_all(devices, 1)) < ACK_S, "the hub does not answer"

    with closing(Flooder(broker, "flood", [bomb(8 << 20)])):
        deadline = time.monotonic() + 2 * SOON_S
        while True:
            waits = send_all(devices, 3)
            if max(waits) < 1.0:
                break
            assert time.monotonic() < deadline, waits
    for device in devices:
        device.close()

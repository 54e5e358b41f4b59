"""PROTOCOL.md's worked example, run as it stands against broker and hub."""

import json
import queue
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from edge_agent.base.clock import SystemClock
from hub.config import Home
from hub.home import create_home
from hub.service import open_services
from hub.storage.tables import DEVICES, RECORDS
from tests.hub_broker import free_port, mosquitto

ROOT = Path(__file__).parents[2]
START_S = 30.0
MAX_RUNS = 4


def example() -> tuple[str, str]:
    """Return the script of the example and what it says is printed."""
    text = (ROOT / "PROTOCOL.md").read_text("utf-8")
    section = text.split("## Worked example", 1)[1].split("\n## ", 1)[0]
    script, answer = re.findall(r"```(?:sh|json)\n(.*?)```", section, re.DOTALL)
    return script, answer


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Home, int]]:
    """Run broker and hub; return the hub's home and the broker's port."""
    home, port = Home(tmp_path / "home"), free_port()
    create_home(home, SystemClock())
    with mosquitto(tmp_path) as broker:
        home.config_file.write_text(
            f"tick_s = 0.05\n[broker]\nport = {broker}\n[api]\nport = {port}\n", "utf-8"
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "hub", "--home", str(home.path), "serve"],
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_healthy(port, process)
            yield home, broker
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def wait_until_healthy(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the hub serves and is connected to its broker."""
    deadline, pause = time.monotonic() + START_S, queue.Queue[None]()
    while True:
        assert process.poll() is None, "the hub has ended"
        assert time.monotonic() < deadline
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=1).json()[
                "broker"
            ]:
                return
        except httpx.HTTPError:
            pass
        try:
            pause.get(timeout=0.05)
        except queue.Empty:
            continue


def play(script: str, broker: int, folder: Path) -> dict[str, object]:
    """Run the example in a shell and return the acknowledgement that it prints."""
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", script.replace("-p 1883", f"-p {broker}")],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    ack = json.loads(done.stdout)
    assert isinstance(ack, dict)
    return ack


def play_until(
    script: str, broker: int, folder: Path, expected: dict[str, object]
) -> None:
    """Run the example until it reads an acknowledgement that is not of a run before."""
    seen = [play(script, broker, folder)]
    while seen[-1] != expected and len(seen) < MAX_RUNS:
        seen.append(play(script, broker, folder))
    assert seen[-1] == expected


def test_the_worked_example_works(hub: tuple[Home, int], tmp_path: Path) -> None:
    """The commands print the acknowledgements that the document tells of."""
    home, broker = hub
    script, answer = example()
    third = script.replace('"lo":1,"hi":1', '"lo":3,"hi":3').replace("[1]", "[3]")
    expected = json.loads(answer)

    play_until(script, broker, tmp_path, expected)
    play_until(script, broker, tmp_path, expected)
    play_until(third, broker, tmp_path, {**expected, "upto": 1, "gap": True})
    told = third.replace('"base":0', '"base":2')
    play_until(told, broker, tmp_path, {**expected, "upto": 3})

    engine = open_services(home).engine
    with engine.connect() as connection:
        device = connection.execute(select(DEVICES)).one()
        rows = connection.execute(select(RECORDS.c.seq, RECORDS.c.kind)).all()
    engine.dispose()
    assert (device.id, device.boot, device.online) == ("pump-7", expected["boot"], True)
    assert rows == [(1, "event"), (3, "event")]

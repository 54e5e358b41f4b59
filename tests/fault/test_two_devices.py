"""Two devices with one id: refused, alerted, and no record lost or mixed up."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from edge_agent.base.clock import SystemClock
from edge_agent.wire import codec, topics
from edge_agent.wire.batch import (
    BatchHeader,
    decode_record,
    encode_batch,
    encode_record,
)
from edge_agent.wire.control import Ack, Presence
from edge_agent.wire.records import EventRecord
from edge_agent.wire.topics import Address, Lane, Leaf
from hub.cli import cli
from hub.config import Home, IngestConfig
from hub.home import create_home
from hub.ingest.quarantine import list_quarantine, replay
from hub.ingest.writer import IngestWriter
from hub.service import Services, open_services
from hub.storage.clones import TWO_BOOTS, TWO_CONTENTS
from hub.storage.tables import RECORDS
from tests.fakes.agent_hub import wait_for
from tests.hub_broker import free_port, mosquitto
from tests.torture.device import QUIET_FILE, TRUTH_FILE, name_of

ROOT = Path(__file__).parents[2]
A, B = "a" * 16, "b" * 16


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a new hub's home."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock())
    return home


def hub_says(home: Home, *words: str) -> str:
    """Run a command of the hub that prints JSON."""
    done = CliRunner().invoke(cli, ["--home", str(home.path), *words, "--json"])
    assert done.exit_code == 0, done.output
    return done.stdout


def stored(home: Home) -> set[str]:
    """Return what the hub's records are known by: names, and codes of events."""
    services = open_services(home)
    with services.engine.connect() as conn:
        bodies = conn.scalars(select(RECORDS.c.body)).all()
    services.engine.dispose()
    records = [decode_record(body.encode()) for body in bodies]
    codes = {record.code for record in records if isinstance(record, EventRecord)}
    return {name_of(record) for record in records} | codes


def committed(folder: Path) -> set[str]:
    """Return the names of what a device committed."""
    return set((folder / TRUTH_FILE).read_text("ascii").split())


def births(services: Services, *born: tuple[str, float]) -> str:
    """Hand over births one by one; return the sign of a clone that was noted."""
    address = Address(device="d1", kind=Leaf.PRESENCE)
    for boot, at in born:
        birth = Presence(device="d1", boot=boot, online=True, at=at)
        services.devices.inbox.put(address, codec.encode(birth))
        services.devices.receive()
    clone = services.devices.clone_of("d1")
    return clone.sign if clone else ""


@pytest.mark.parametrize(
    ("born", "sign"),
    [
        ([(A, 1.0), (B, 2.0), (A, 3.0)], TWO_BOOTS),
        ([(A, 1.0), (B, 2.0), (A, 1.0)], ""),
        ([(A, 1.0), (A, 2.0), (B, 3.0), (B, 4.0)], ""),
    ],
    ids=["turns", "one message twice", "restart and reconnections"],
)
def test_only_a_boot_that_returns_is_a_second_device(
    home: Home, born: list[tuple[str, float]], sign: str
) -> None:
    """A boot born again after another one lives beside it; nothing else is a sign."""
    services = open_services(home)

    assert births(services, *born) == sign

    services.engine.dispose()


def batch(*texts: str) -> bytes:
    """Return a batch of boot A from number 1."""
    header = BatchHeader(
        boot=A, lane=Lane.ALERT, base=0, lo=1, hi=len(texts), wall_at=5.0, mono_s=1.0
    )
    records = [
        EventRecord(at=5.0, code="AGENT-X-001", severity="info", text=text)
        for text in texts
    ]
    rows = [(number, encode_record(record)) for number, record in enumerate(records, 1)]
    return encode_batch(header, rows)


def test_one_number_with_two_contents_is_kept_apart(home: Home) -> None:
    """The first stays, the second is in the quarantine, and the device is named."""
    services = open_services(home)
    acks: list[Ack] = []
    writer = IngestWriter(
        services.engine,
        services.clock,
        lambda _topic, data: acks.append(codec.decode(data, Ack)),
        IngestConfig(),
    )
    for payload in (batch("x", "y"), batch("x", "y"), batch("x", "other", "z")):
        assert services.devices.clone_of("d1") is None
        writer.offer(topics.up("d1", Lane.ALERT), payload, lambda: None)
        writer.step(0.0)

    clone = services.devices.clone_of("d1")
    waiting = list_quarantine(services.engine)
    again = replay(services.engine, None)
    with services.engine.connect() as conn:
        bodies = conn.scalars(select(RECORDS.c.body).order_by(RECORDS.c.seq)).all()
    services.engine.dispose()
    assert clone is not None
    assert clone.sign == TWO_CONTENTS
    assert [row.reason for row in waiting] == [clone.detail]
    assert "as 2 of boot" in clone.detail
    assert [done.committed for done in again] == [False]
    assert [json.loads(body)["text"] for body in bodies] == ["x", "y", "z"]
    assert acks[-1].upto == 3


def start_device(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a device's link and store, committing ten records a second."""
    code = "import sys; from tests.torture.device import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", code, str(folder), "d1", str(port), "10"]
    return subprocess.Popen(words, cwd=ROOT)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process as its owner would."""
    process.terminate()
    process.wait(20)


def test_a_copied_card_is_alerted_and_loses_nothing(tmp_path: Path, home: Home) -> None:
    """Both fight slowly, the hub names the device, and what both made arrives."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    with mosquitto(tmp_path) as port:
        home.config_file.write_text(
            f"tick_s = 0.05\n[monitor]\nfor_s = 0.5\n[broker]\nport = {port}\n"
            f"[api]\nport = {free_port()}\n",
            "utf-8",
        )
        words = [sys.executable, "-m", "hub", "--home", str(home.path), "serve"]
        processes = [subprocess.Popen(words), start_device(first, port)]
        try:
            wait_for((first / TRUTH_FILE).exists, "the first device")
            stop(processes.pop())
            shutil.copytree(first, second)
            processes += [start_device(first, port), start_device(second, port)]

            def alert() -> bool:
                found = json.loads(hub_says(home, "alerts", "list"))
                return ("clone", "firing") in {(a["rule"], a["state"]) for a in found}

            wait_for(alert, "the alert")
            wait_for(
                lambda: "AGENT-LINK-006" in stored(home),
                "the devices' own report",
            )
            detail = json.loads(hub_says(home, "devices", "get", "d1"))["clone"]
            # The cure of a copied card: one of the two stops.
            (first / QUIET_FILE).touch()
            (second / QUIET_FILE).touch()
            stop(processes.pop())
            wait_for(lambda: committed(first) <= stored(home), "all of the first")
            stop(processes.pop())
            processes.append(start_device(second, port))
            wait_for(lambda: committed(second) <= stored(home), "all of the second")
        finally:
            for process in reversed(processes):
                stop(process)
    assert "take turns" in detail["detail"]
    assert detail["times"] < 40

"""A hub whose database is full of hostile texts prints none of them as it is."""

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click import Group
from sqlalchemy import Connection, Table, Text, insert, update

from edge_agent.base.clock import SystemClock
from edge_agent.base.program import run_command_line
from edge_agent.base.terminal import harmless
from edge_agent.wire import codec
from edge_agent.wire.bench import BenchReport
from edge_agent.wire.control import Obstacle, Presence, Reported
from edge_agent.wire.topics import Address, Leaf
from hub.alerts.evidence import CloneEvidence
from hub.cli import cli
from hub.config import Home
from hub.home import create_home
from hub.service import open_services
from hub.storage import clones, poison
from hub.storage.benches import insert_bench
from hub.storage.db import transaction
from hub.storage.tables import (
    ALERTS,
    JOBS,
    METADATA,
    ROLLOUT_DEVICES,
    ROLLOUT_EVENTS,
    ROLLOUTS,
)
from tests.hub_bundle import make_bundle

HOSTILE = (
    "\x1b]0;t\x07\x1b[2J\x9b31m\r\x08\u202e\u2066\u200b[red]z[/red]\nHUB-LIE-001: ok"
)
BOOT = "00000000000000aa"
LISTINGS = [
    ("alerts", "list"),
    ("alerts", "get", "1"),
    ("bench", "list"),
    ("devices", "list"),
    ("devices", "get", "d1"),
    ("devices", "get", HOSTILE),
    ("ingest", "quarantine", "list"),
    ("ingest", "quarantine", "show", "1"),
    ("releases", "list"),
    ("releases", "get", "1"),
    ("rollouts", "list"),
    ("rollouts", "get", "tiny-1-1"),
    ("rollouts", "explain", "tiny-1-1"),
    ("rollouts", "watch", "tiny-1-1", "--timeout", "1"),
    ("train", "list"),
    ("train", "get", "j1"),
    ("keys", "status"),
]
FREE = {
    "rollouts": {"reason"},
    "rollout_events": {"reason"},
    "rollout_devices": {"code", "detail"},
    "alerts": {"summary", "cohort", "rule"},
    "jobs": {"reason", "error", "folder"},
    "poison": {"topic", "reason"},
    "clones": {"detail"},
    "devices": {"cohort"},
}
"""Columns that hold text from outside as it came, other than JSON documents."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a hub with one of everything, all of it hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    create_home(Home(folder / "home"), SystemClock())
    services = open_services(Home(folder / "home"))
    services.releases.publish(services.releases.take_in_once(make_bundle(folder / "b")))
    _speak(services.devices.inbox.put)
    services.devices.receive()
    services.rollouts.start(1)
    with transaction(services.engine) as conn:
        poison.write_poison(conn, HOSTILE, HOSTILE.encode(), reason=HOSTILE, at=1.0)
        clones.note_clone(conn, "d1", clones.TWO_BOOTS, detail=HOSTILE, at=1.0)
        _plant(conn)
        for name, columns in FREE.items():
            table = METADATA.tables[name]
            conn.execute(update(table).values(dict.fromkeys(columns, HOSTILE)))
    services.engine.dispose()
    return folder / "home"


def _speak(put: Callable[[Address, bytes], None]) -> None:
    presence = Presence(
        device="d1",
        boot=BOOT,
        online=True,
        at=1.0,
        agent=HOSTILE,
        runtime=HOSTILE,
        hardware=HOSTILE,
        labels={HOSTILE: HOSTILE},
        capabilities=[HOSTILE],
    )
    twin = Reported(
        device="d1",
        boot=BOOT,
        version=1,
        at=1.0,
        release=1,
        sha256=HOSTILE,
        phase=HOSTILE,
        obstacle=Obstacle(code="HUB-LIE-001", text=HOSTILE),
        shedding=HOSTILE,
        api=[HOSTILE],
    )
    put(Address("d1", Leaf.PRESENCE), codec.encode(presence))
    put(Address("d1", Leaf.REPORTED), codec.encode(twin))


def _plant(conn: Connection) -> None:
    """Add a row to each table that a command lists."""
    report = BenchReport(
        hardware=HOSTILE,
        model=HOSTILE,
        sha256="a" * 64,
        bytes=1,
        at=1.0,
        agent=HOSTILE,
        runtime=HOSTILE,
        predictions=1,
        per_s=1.0,
        p50_us=1.0,
        p95_us=1.0,
        p99_us=1.0,
        max_us=1.0,
        cold_start_s=1.0,
        rss_bytes=1,
    )
    insert_bench(conn, report, 1.0)
    for table, row in _rows().items():
        texts: dict[str, object] = {}
        for column in table.columns:
            if column.nullable or column.autoincrement is True or column.name == "id":
                continue
            texts[column.name] = "" if isinstance(column.type, Text) else 1
        free = dict.fromkeys(FREE[table.name], HOSTILE)
        conn.execute(insert(table).values(texts | row | free))
    assert ROLLOUTS.name in FREE


def _rows() -> dict[Table, dict[str, object]]:
    """Return by table what its row holds beside hostile texts."""
    evidence = codec.encode(
        CloneEvidence(
            device="d1",
            sign=HOSTILE,
            detail=HOSTILE,
            times=1,
            first_at=1.0,
            last_at=1.0,
        )
    ).decode()
    return {
        ALERTS: {
            "fingerprint": "f",
            "release": 1,
            "state": "firing",
            "severity": "warning",
            "evidence": evidence,
            "fired_at": 1.0,
        },
        JOBS: {"id": "j1", "kind": "train", "state": "failed"},
        ROLLOUT_DEVICES: {
            "rollout": "tiny-1-1",
            "device": "d1",
            "stage": 0,
            "assigned_seq": 1,
            "outcome": "failed",
        },
        ROLLOUT_EVENTS: {
            "rollout": "tiny-1-1",
            "from_state": "DRAFT",
            "to_state": "RUNNING",
            "inputs": evidence,
        },
    }


def _run(command: Group, program: str, *words: str) -> int:
    sys.argv[1:] = words
    with pytest.raises(SystemExit) as ended:
        run_command_line(command, program)
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("form", ["columns", "json"])
@pytest.mark.parametrize("words", LISTINGS, ids=lambda words: " ".join(words[:3])[:24])
def test_no_listing_prints_what_a_terminal_obeys(
    home: Path,
    words: tuple[str, ...],
    form: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor a line that a value forged; JSON keeps its meaning."""
    monkeypatch.setattr(sys, "argv", ["hub"])
    options = ["--json"] if form == "json" else []
    code = _run(cli, "hub", "--home", str(home), *words, *options)
    out, err = capsys.readouterr()

    assert "SHOAL-PROGRAM" not in err
    assert code in {0, 3, 6}, err
    for text in (out, err):
        assert harmless(text) == text
        assert not any(line.startswith("HUB-LIE-001") for line in text.splitlines())
    if options and code == 0:
        msgspec.json.decode(out)


@pytest.mark.parametrize("noun", ["devices", "alerts", "train", "bench"])
def test_a_table_on_a_terminal_shows_brackets_and_no_sequences(
    home: Path,
    noun: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rich's own codes are there, those of a value are text, as is its markup."""
    monkeypatch.setattr(sys, "argv", ["hub"])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "1000")
    assert _run(cli, "hub", "--home", str(home), noun, "list") == 0
    out = capsys.readouterr().out
    assert "\\u001b[2J" in out
    assert "[red]z[/red]" in out
    for sequence in ("\x1b]", "\x1b[2J", "\x9b", "\u202e", "\r", "\x08"):
        assert sequence not in out

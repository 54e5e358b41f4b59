"""``edge-agent outbox export`` and ``purge`` on a real database."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_agent.cli import cli
from edge_agent.config import OutboxConfig
from edge_agent.held import ExportError
from edge_agent.store.db import DB_FILE
from edge_agent.store.lock import take_lock
from edge_agent.store.outbox import Outbox
from edge_agent.wire.batch import decode_record
from edge_agent.wire.records import EventRecord, UpdateRecord
from edge_agent.wire.topics import Lane

OLD, NEW = "a" * 16, "b" * 16


def event(number: int) -> EventRecord:
    """Return an alert record that carries a number."""
    return EventRecord(at=float(number), code="AGENT-X-001", severity="info", text="x")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration whose device holds records of two boots."""
    path = tmp_path / "agent.toml"
    path.write_text(
        '[device]\nid = "d1"\nstate_dir = "state"\n[trust]\nroot = "root.json"\n',
        "utf-8",
    )
    (tmp_path / "state").mkdir()
    update = UpdateRecord(at=9.0, assignment_seq=1, rollout="", release=1, phase="IDLE")
    for boot, numbers in ((OLD, (1, 2)), (NEW, (3,))):
        outbox = Outbox(tmp_path / "state" / DB_FILE, boot, OutboxConfig())
        outbox.append([*map(event, numbers), update])
        outbox.close()
    return path


def run(config: Path, *words: str) -> Result:
    """Run a command of the outbox in this process."""
    return CliRunner().invoke(cli, ["outbox", *words, "--config", str(config)])


def stats(config: Path) -> dict[str, dict[str, int]]:
    """Return the outbox's figures by lane."""
    lanes = json.loads(run(config, "stats", "--json").stdout)["lanes"]
    assert isinstance(lanes, dict)
    return lanes


def test_an_export_holds_every_record_and_deletes_none(config: Path) -> None:
    """One object a line with boot, lane, number and record; for its owner only."""
    to = config.with_name("held.jsonl")

    result = run(config, "export", "--to", str(to), "--json")

    assert json.loads(result.stdout)["lanes"] == {
        "alert": 3,
        "state": 2,
        "metric": 0,
        "sample": 0,
    }
    lines = [json.loads(line) for line in to.read_text("utf-8").splitlines()]
    alerts = [(one["boot"], one["seq"]) for one in lines if one["lane"] == "alert"]
    assert alerts == [(OLD, 1), (OLD, 2), (NEW, 1)]
    assert decode_record(json.dumps(lines[0]["record"]).encode()) == event(1)
    assert to.stat().st_mode & 0o777 == 0o600
    assert stats(config)["alert"]["pending"] == 3


def test_an_export_that_cannot_be_written_leaves_nothing(config: Path) -> None:
    """A missing folder is an error with its code, not a traceback."""
    result = run(config, "export", "--to", str(config.parent / "no" / "held.jsonl"))

    assert isinstance(result.exception, ExportError)
    assert result.exception.code == "AGENT-CLI-003"


def test_a_purge_counts_evictions_and_numbers_go_on(config: Path) -> None:
    """Other lanes stay, and the next record follows the last number."""
    result = run(config, "purge", "--lane", "alert", "--yes", "--json")

    assert json.loads(result.stdout)["records"] == 3
    lanes = stats(config)
    assert (lanes["alert"]["pending"], lanes["alert"]["evicted"]) == (0, 3)
    assert (lanes["alert"]["pending_bytes"], lanes["state"]["pending"]) == (0, 2)
    outbox = Outbox(config.parent / "state" / DB_FILE, NEW, OutboxConfig())
    outbox.append([event(4)])
    stream = outbox.streams()[0]
    outbox.close()
    assert (stream.lane, stream.lowest, stream.evicted) == (Lane.ALERT, 2, 1)


def test_a_purge_wants_to_be_meant(config: Path) -> None:
    """Without --yes nothing is deleted, and the text says what would be."""
    result = run(config, "purge", "--lane", "alert")

    assert result.exit_code == 2
    assert "gone for good" in result.stderr
    assert stats(config)["alert"]["pending"] == 3


def test_both_work_while_the_agent_holds_its_folder(config: Path) -> None:
    """The lock is for agents; a purge is an eviction like those of the worker."""
    agent = Outbox(config.parent / "state" / DB_FILE, NEW, OutboxConfig())
    with take_lock(config.parent / "state"):
        assert run(config, "purge", "--lane", "alert", "--yes").exit_code == 0
        agent.append([event(5)])
        held = [(one.boot, one.seq) for one in agent.held() if one.lane is Lane.ALERT]
    agent.close()

    assert held == [(NEW, 2)]

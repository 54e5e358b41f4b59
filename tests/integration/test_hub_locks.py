"""Locks that last: what waits says for whom, what gives up names who holds it."""

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from edge_agent.base.clock import SystemClock
from hub import locks
from hub.config import Home
from hub.errors import ConflictError, HubError
from hub.home import create_home
from hub.locks import flock_holder, sqlite_writer, wait_for_flock
from hub.role import Part, take_part
from hub.storage import sqlite_file
from hub.storage.db import open_database, transaction
from hub.storage.sqlite_file import BusyError
from tests.fakes.lock_holder import holding

DEADLINE_S = 30.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a fresh home folder."""
    create_home(Home(tmp_path / "home"), SystemClock())
    return Home(tmp_path / "home")


def test_an_error_names_the_process_that_writes(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """First the log says for whom one waits, then the error names it, with a cure."""
    monkeypatch.setattr(sqlite_file, "_BUSY_TIMEOUT_MS", 300)
    monkeypatch.setattr(sqlite_file, "TELL_AFTER_S", 0.1)
    database = home.path / "hub.db"
    engine = open_database(f"sqlite:///{database}")
    with holding(database, "write") as pid, caplog.at_level(logging.WARNING):
        with pytest.raises(BusyError) as failed, transaction(engine):
            pass
        assert sqlite_writer(database) == locks.Holder(pid, locks._command(pid))
    with transaction(engine):
        assert sqlite_writer(database) is not None
    engine.dispose()

    error = failed.value
    assert isinstance(error, HubError)
    assert isinstance(error, OperationalError)
    assert (error.code, error.retryable) == ("HUB-STORE-006", True)
    told = str(vars(caplog.records[0])["text"])
    for text in (str(error), str(error.orig), told):
        assert f"process {pid} (" in text
        assert "python" in text


def test_nobody_is_named_once_a_lock_is_free(home: Home) -> None:
    """What a process that ended had locked is nobody's."""
    database = home.path / "hub.db"
    with holding(database, "write"), holding(home.tuf / ".lock", "flock") as pid:
        found = flock_holder(home.tuf / ".lock")
        assert found is not None
        assert found.pid == pid

    assert sqlite_writer(database) is None
    assert flock_holder(home.tuf / ".lock") is None
    assert flock_holder(home.path / "none") is None


def test_a_taken_part_names_who_has_it(home: Home) -> None:
    """``hub serve`` beside another says which process that is."""
    with (
        holding(home.path / "serve-control.lock", "flock") as pid,
        pytest.raises(ConflictError, match=f"process {pid} "),
    ):
        take_part(home, Part())


def test_a_command_that_waits_says_for_what(home: Home) -> None:
    """After two seconds it names lock and holder, and goes on when the lock is free."""
    command = ["hub", "--home", str(home.path), "keys", "refresh"]
    with holding(home.tuf / ".lock", "flock") as pid:
        waiting = subprocess.Popen(
            [sys.executable, "-m", *command], stderr=subprocess.PIPE, text=True
        )
        assert waiting.stderr is not None
        line = waiting.stderr.readline()
    rest = waiting.communicate(timeout=DEADLINE_S)[1]

    assert f"waiting for the metadata in {home.tuf}: process {pid} (" in line
    assert waiting.returncode == 0, rest
    assert "waiting" not in rest


def test_a_lock_that_is_free_is_had_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is logged and nobody sleeps."""
    began = time.monotonic()
    with (tmp_path / "lock").open("ab") as file:
        wait_for_flock(file, "nothing")

    assert time.monotonic() - began < locks.TELL_AFTER_S
    assert caplog.records == []

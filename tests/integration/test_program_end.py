"""Ctrl-C at any moment ends the three programs without a traceback."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

INTERRUPTED = """
import importlib, os, runpy, signal, sys

class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == when:
            os.kill(os.getpid(), signal.SIGINT)

when, program = sys.argv.pop(1), sys.argv.pop(1)
sys.meta_path.insert(0, AtImport())
module, _, function = program.partition(":")
if function:
    getattr(importlib.import_module(module), function)()
else:
    runpy.run_module(program, run_name="__main__", alter_sys=True)
"""
SCRIPTS = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]["scripts"]


def _interrupt(when: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program that gets SIGINT when it imports the module ``when``."""
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTED, when, *words],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("program", ["edge_agent", "hub", "trainer", *SCRIPTS.values()])
def test_an_interrupt_while_the_program_loads_is_quiet(program: str) -> None:
    """It ends by the signal, as any program does that handles none."""
    done = _interrupt("click", program, "--help")
    assert (done.returncode, done.stdout, done.stderr) == (-2, "", "")


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("edge_agent.status", ("edge_agent", "status")),
        ("hub.service", ("hub", "devices", "list")),
        ("trainer.job", ("trainer", "run", "pyproject.toml")),
    ],
)
def test_an_interrupt_in_a_command_has_its_exit_code(
    when: str, words: tuple[str, ...]
) -> None:
    """130, as documented, and one word."""
    done = _interrupt(when, *words)
    assert (done.returncode, done.stderr.strip()) == (130, "interrupted")


def test_other_ends_keep_their_codes() -> None:
    """Usage is 2, help and a pipe that closes early are no failures to speak of."""
    for words, code in (
        (("status", "--nonsense"), 2),
        (("infer",), 2),
        (("--help",), 0),
        (("status", "--config", "/nowhere.toml"), 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "edge_agent", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (words, done.stderr)
        assert "Traceback" not in done.stderr


UNEXPECTED = """
import sys
from click import group
from edge_agent.base.program import run_command_line

@group()
def cli():
    "Do it."

@cli.command()
def fall():
    "Fall."
    raise IndexError("a\\x1b[2J\\nb")

run_command_line(cli, "hub")
"""


@pytest.mark.parametrize("debug", [False, True])
def test_what_no_command_expected_is_one_line_with_a_code(
    tmp_path: Path, *, debug: bool
) -> None:
    """The traceback is in a file for the owner alone, or printed where asked for."""
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", UNEXPECTED, "fall"],
        capture_output=True,
        text=True,
        check=False,
        env=environment | ({"SHOAL_DEBUG": "1"} if debug else {}),
    )
    head = "SHOAL-PROGRAM-001: unexpected IndexError: a\\u001b[2J\\u000ab"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(head)
    assert ("Traceback" in done.stderr) == debug
    kept = tmp_path / "shoal" / "hub-traceback.txt"
    assert kept.exists() != debug
    if not debug:
        assert str(kept) in done.stderr
        assert kept.stat().st_mode & 0o777 == 0o600
        assert "IndexError" in kept.read_text("utf-8")


def test_a_pipe_that_closes_early_is_quiet() -> None:
    """`hub … | head` ends without a word."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m hub --help | true"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""

"""``hub keys`` and ``hub init`` as a person uses them."""

import json
import os
import pty
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hub.cli import cli

WORDS = "six random words make one\n"


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Return a file with a passphrase."""
    path = tmp_path / "words"
    path.write_text(WORDS, "utf-8")
    return path


def run(home: Path, *arguments: object) -> Result:
    """Run a command in this process."""
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(cli, ["--home", str(home), *words])


def done(home: Path, *arguments: object) -> Result:
    """Run a command that succeeds."""
    result = run(home, *arguments)
    assert result.exit_code == 0, result.stderr
    return result


def test_init_without_a_terminal_wants_to_know_about_the_passphrase(
    tmp_path: Path,
) -> None:
    """Nothing is made of a half-said wish."""
    result = run(tmp_path / "home", "init")

    assert result.exit_code == 4
    assert "HUB-KEYS-007" in result.stderr
    assert "--no-passphrase" in result.stderr
    assert not (tmp_path / "home").exists()


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    """The file format does not slow a guesser down, so length has to."""
    (tmp_path / "short").write_text("hunter2\n", "utf-8")

    result = run(tmp_path / "home", "init", "--passphrase-file", tmp_path / "short")

    assert result.exit_code == 4
    assert "12 characters" in result.stderr


def test_init_says_what_to_do_with_the_offline_keys(
    tmp_path: Path, words: Path
) -> None:
    """The keys go where they were asked to, and the words say why."""
    brought = ("--passphrase-file", words, "--offline-keys", tmp_path / "usb")
    result = done(tmp_path / "home", "init", *brought)

    assert "move them away" in result.stderr
    assert len(list((tmp_path / "usb").glob("root-*.pem"))) == 3
    assert WORDS.strip() not in result.output


def test_status_warns_while_offline_keys_lie_in_the_hub(
    tmp_path: Path, words: Path
) -> None:
    """The warning is in the JSON too, and goes once they are moved away."""
    home = tmp_path / "home"
    done(home, "init", "--passphrase-file", words)
    before = done(home, "keys", "status")
    (home / "offline-keys").rename(tmp_path / "usb")

    after = json.loads(done(home, "keys", "status", "--json").stdout)

    assert "who steals the hub can sign anything" in before.stderr
    assert "2 of 3" in before.stdout
    assert after["warnings"] == []
    roles = {role["role"]: role for role in after["roles"]}
    assert [key["path"] for key in roles["root"]["keys"]] == ["", "", ""]
    assert roles["models"]["keys"][0]["path"].startswith(str(home / "keys" / "models-"))


def test_keys_can_be_made_on_a_machine_of_their_own(
    tmp_path: Path, words: Path
) -> None:
    """`hub init` then uses them, asks for nothing, and `keys init` never repeats."""
    home = tmp_path / "home"
    brought = ("--passphrase-file", words, "--offline-keys", tmp_path / "usb")
    done(home, "keys", "init", *brought)
    root = (home / "root.json").read_bytes()
    again = run(home, "keys", "init", "--passphrase-file", words)

    done(home, "init")

    assert again.exit_code == 5
    assert "HUB-KEYS-001" in again.stderr
    assert (home / "root.json").read_bytes() == root
    assert not (home / "offline-keys").exists()


def test_rotate_refresh_and_export(tmp_path: Path, words: Path) -> None:
    """Each says what it did; what is missing is said with a cure."""
    home, usb = tmp_path / "home", tmp_path / "usb"
    brought = ("--offline-keys", usb, "--passphrase-file", words)
    done(home, "init", *brought)
    refused = run(home, "keys", "rotate", "online")
    rotated = json.loads(
        done(home, "keys", "rotate", "root", *brought, "--json").stdout
    )
    done(home, "keys", "refresh")
    done(home, "keys", "refresh", "--root", "--targets", *brought)

    for version in (1, 2, 3):
        target = tmp_path / f"{version}.json"
        done(home, "keys", "export-root", "--version", version, "--to", target)
        signed = json.loads(target.read_text("utf-8"))["signed"]
        assert signed["version"] == version
    done(home, "keys", "export-root", "--to", tmp_path / "newest.json")

    assert refused.exit_code == 4
    assert "--offline-keys DIR" in refused.stderr
    assert (rotated["root"], len(rotated["made"]), len(rotated["replaced"])) == (
        2,
        3,
        3,
    )
    assert (tmp_path / "newest.json").read_bytes() == (tmp_path / "3.json").read_bytes()


def test_a_folder_without_a_hub_has_no_keys(tmp_path: Path) -> None:
    """The text names the command that creates one."""
    for words in (("status",), ("rotate", "online"), ("refresh",)):
        result = run(tmp_path / "nothing", "keys", *words)
        assert result.exit_code == 3, result.stderr
        assert "hub init" in result.stderr


def type_at_terminal(home: Path, arguments: list[str], typed: list[str]) -> str:
    """Run a command at a terminal, answer its questions; return what was shown."""
    argv = [sys.executable, "-m", "hub", "--home", str(home), *arguments]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, argv)  # noqa: S606 - no shell wanted
    shown, answered = b"", 0
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the child has closed it
            break
        if typed and shown[answered:].endswith(b": "):
            answered = len(shown)
            os.write(terminal, f"{typed.pop(0)}\n".encode())
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown.decode()
    return shown.decode()


def test_a_terminal_is_asked_and_shows_nothing_of_the_answers(tmp_path: Path) -> None:
    """A new passphrase twice; to sign, once for all keys, and again after a typo."""
    home, words = tmp_path / "home", WORDS.strip()
    made = type_at_terminal(home, ["init"], [words, words])
    rotate = ["keys", "rotate", "online"]
    rotated = type_at_terminal(home, rotate, ["no such words", words])

    assert "Passphrase for the new offline keys" in made
    assert rotated.count("Passphrase of root-") == 2
    assert "it does not open the key" in rotated
    assert "root is version 2" in rotated
    assert words not in made + rotated

"""Text from outside on a terminal: shown, never obeyed."""

import io
import json
import logging
import sys
import unicodedata

import click
import pytest

from edge_agent.base.log import JsonFormatter, PlainFormatter
from edge_agent.base.terminal import (
    EscapingStream,
    escaped_output,
    harmless,
    one_line,
    raw_stream,
)

ATTACKS = {
    "ansi": "\x1b[2Jgone",
    "title": "\x1b]0;root\x07",
    "hyperlink": "\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\",
    "c1": "\x9b31mred",
    "return": "honest\rforged",
    "backspace": "abc\x08\x08\x08xyz",
    "delete": "a\x7f",
    "override": "\u202egpj.exe",
    "isolate": "\u2066a\u2069",
    "mark": "\u200f\u061c",
    "zero width": "a\u200bb\u200d\u2060\ufeff",
    "separator": "a\u2028b\u2029",
    "tag": "a\U000e0041",
    "half a pair": "a\udc80",
    "null": "a\x00b",
}


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_terminal_gets_nothing_that_it_would_obey(text: str) -> None:
    """Controls, overrides and what cannot be seen are written out."""
    shown = harmless(text)
    assert shown != text
    assert all(unicodedata.category(letter)[0] != "C" for letter in shown)
    assert not {"\u2028", "\u2029"} & set(shown)


def test_a_value_stays_in_its_line() -> None:
    """Newlines and tabs of a value are escaped; those of a text are kept."""
    assert one_line("a\nHUB-X-001: ok\tb") == "a\\u000aHUB-X-001: ok\\u0009b"
    assert harmless("a\n\tb") == "a\n\tb"
    assert one_line(3) == "3"


@pytest.mark.parametrize("text", ["Ärger 泵 9 — naïve", "[red]x[/red]", "a\\b", "🚰"])
def test_what_can_be_seen_is_shown_as_it_is(text: str) -> None:
    """Other scripts, brackets and backslashes are harmless."""
    assert one_line(text) == text


def test_json_means_the_same_with_and_without_escapes() -> None:
    """An escape inside a JSON string is the letter that it stands for."""
    text = "".join(ATTACKS.values())
    assert json.loads(harmless(json.dumps(text, ensure_ascii=False))) == text


def test_all_output_is_escaped_while_a_command_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both streams are; the raw one is there for bars, and comes back."""
    before = sys.stdout
    with escaped_output():
        click.echo("\x1b]0;x\x07")
        click.echo("\x1b]0;x\x07", err=True)
        assert raw_stream(sys.stdout) is before
    assert sys.stdout is before
    title = "\\u001b]0;x\\u0007\n"
    assert capsys.readouterr() == (title, title)


def test_letters_that_the_terminal_has_not_end_no_command() -> None:
    """They are escaped where the locale has none of them."""
    below = io.TextIOWrapper(io.BytesIO(), "ascii")
    stream = EscapingStream(below)
    stream.writelines(["Pümpe\n"])
    below.flush()
    assert below.buffer.getvalue() == b"P\\xfcmpe\n"


@pytest.mark.parametrize("kind", [PlainFormatter, JsonFormatter])
def test_a_fact_in_the_log_forges_no_line(kind: type[logging.Formatter]) -> None:
    """Neither by a newline nor by a sequence, on a terminal as in a file."""
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "sold", None, None)
    vars(record)["reason"] = "a\x1b[2J\u202e\n12:00:00 INFO all well"
    line = kind().format(record)
    assert one_line(line) == line

"""Patterns end at the end of the text, and printing has one way out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_agent.wire.control import Presence
from edge_agent.wire.envelope import Envelope

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for package in ("edge_agent", "hub", "trainer")
    for path in sorted((ROOT / package).rglob("*.py"))
]
RAW = {
    "edge_agent/base/terminal.py",
    "edge_agent/base/log.py",  # its formatters escape
    "edge_agent/bench_command.py",  # a bar without text
    "edge_agent/infer_command.py",  # a bar without text
    "hub/cli/output.py",  # a table whose cells are escaped
    "hub/demo/cli.py",  # a screen whose texts are escaped
    "trainer/screen.py",  # a bar whose texts are escaped
}
"""Files that may write past the escaping stream."""


def _patterns(tree: ast.AST) -> Iterator[str]:
    """Yield the patterns given to ``Meta`` and ``re``, and constants named so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) != "Path":
            named = [k.value for k in node.keywords if k.arg == "pattern"]
            if ast.unparse(node.func).startswith("re."):
                named += node.args[:1]
            yield from map(ast.unparse, named)
        elif isinstance(node, ast.Assign) and "PATTERN" in ast.unparse(node.targets[0]):
            yield ast.unparse(node.value)


def test_no_pattern_ends_before_a_last_newline() -> None:
    r"""``$`` matches before a newline at the end; ``\Z`` does not.

    FastAPI's ``Path`` is left out: pydantic's engine has ``$`` at the end only.
    """
    loose = [
        f"{path.relative_to(ROOT)}: {pattern}"
        for path in SOURCES
        for pattern in _patterns(ast.parse(path.read_text("utf-8")))
        if re.search(r"(?<!\\)\$", re.sub(r"\[[^\]]*\]", "", pattern))
    ]
    assert loose == []


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Presence, {"device": "d1\n", "boot": "00000000000000aa", "online": True}),
        (Envelope, {"keyid": "a" * 64, "sig": "ab\n"}),
    ],
)
def test_a_newline_after_an_identifier_is_refused(
    kind: type[msgspec.Struct], message: dict[str, object]
) -> None:
    """An id with a newline at its end is another id."""
    with pytest.raises(msgspec.ValidationError, match="matching regex"):
        msgspec.convert(message, kind)


def test_nothing_is_printed_past_the_escaping_stream() -> None:
    """Only files that are known to escape their texts get the raw stream."""
    used = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if re.search(r"raw_stream|sys\.__std|Console\((?!file=raw)\)", path.read_text())
    }
    assert used <= RAW

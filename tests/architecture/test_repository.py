"""The repository keeps what it promises: docs, locks, tests that say what is true."""

import ast
import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README ARCHITECTURE PROTOCOL OPERATIONS DECISIONS CONTRIBUTING SECURITY CHANGELOG"
)


@pytest.mark.parametrize("name", DOCUMENTS.split())
def test_every_promised_document_is_there(name: str) -> None:
    """A reader finds what ARCHITECTURE and README refer to."""
    assert (ROOT / f"{name}.md").stat().st_size > 500


def test_every_test_says_in_one_sentence_what_is_true() -> None:
    """The docstring of a test is the statement that it proves."""
    silent = [
        f"{path.name}:{node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert silent == []


def test_lock_files_hold_hashes_and_no_address() -> None:
    """They install the same files from wherever the reader gets packages."""
    for lock in sorted((ROOT / "configs" / "locks").glob("*.txt")):
        text = lock.read_text("utf-8")
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://", text), lock.name


def test_every_row_of_the_threat_model_names_tests_that_exist() -> None:
    """What SECURITY.md says is defended is proven where it says."""
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    table = text.split("| attack | defence | test |\n|---|---|---|\n")[1]
    rows = list(
        itertools.takewhile(lambda line: line.startswith("|"), table.split("\n"))
    )
    known = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    missing = []
    for row in rows:
        cells = row.strip("| ").split(" | ")
        named = re.findall(r"`([^`]+)`", cells[2]) if len(cells) == 3 else []
        if not named:
            missing.append(row)
        missing += [
            name for name in named if name not in known and not (ROOT / name).is_file()
        ]

    assert len(rows) > 30
    assert missing == []


def test_error_codes_are_used_for_one_thing_each() -> None:
    """A code that an operator looks up must not mean two things in two modules."""
    pattern = re.compile(r'"((?:AGENT|HUB|TRAINER|WIRE|SHOAL)(?:-[A-Z]+)+-\d{3})"')
    places: dict[str, set[str]] = {}
    for package in ("edge_agent", "hub", "trainer"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for code in pattern.findall(path.read_text("utf-8")):
                places.setdefault(code, set()).add(str(path.relative_to(ROOT)))

    shared = {code: sorted(paths) for code, paths in places.items() if len(paths) > 1}
    assert shared == {}

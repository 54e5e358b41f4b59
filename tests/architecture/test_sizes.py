"""Files and functions stay small enough to be read at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
FOLDERS = ("edge_agent", "hub", "trainer", "tests", "scripts")


def sources() -> Iterator[Path]:
    """Yield every Python file of the repository."""
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_no_file_is_longer_than_the_limit() -> None:
    """A file that wants to grow needs a seam."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if (lines := len(path.read_text("utf-8").splitlines())) > MAX_FILE_LINES
    }

    assert long == {}


def test_no_function_is_longer_than_the_limit() -> None:
    """Its docstring does not count: explaining is not complexity."""
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": lines
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := body_lines(node)) > MAX_FUNCTION_LINES
    }

    assert long == {}


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines

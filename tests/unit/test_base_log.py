"""Lines of the log as JSON."""

import json
import logging
from enum import StrEnum
from pathlib import Path

import pytest

from edge_agent.base.log import JsonFormatter


class _Colour(StrEnum):
    RED = "red"


def _line(**facts: object) -> dict[str, object]:
    record = logging.LogRecord("shop", logging.INFO, "x.py", 1, "sold", None, None)
    vars(record).update(facts)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    found: dict[str, object] = json.loads(text)
    return found


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        (3, 3),
        (0.5, 0.5),
        (None, None),
        ("Ärger\n", "Ärger\n"),
        ([1, (2, 3)], [1, [2, 3]]),
        ({"a": _Colour.RED}, {"a": "red"}),
        ({1: 2}, {"1": 2}),
        (Path("/x/y"), "/x/y"),
        (OSError("gone"), "gone"),
        ("/x/\udcff", "/x/\udcff"),
        (2**80, 2**80),
        ({("a", 1): 2}, {"('a', 1)": 2}),
    ],
)
def test_every_fact_is_told_in_one_line(fact: object, told: object) -> None:
    """Numbers, texts and lists as they are, anything else as its text."""
    line = _line(fact=fact)
    assert line["fact"] == told
    assert (line["event"], line["level"], line["logger"]) == ("sold", "info", "shop")


def test_a_traceback_stays_in_its_line() -> None:
    """An exception is one field."""
    line = _line(exc_info=(ValueError, ValueError("no"), None))
    assert "ValueError: no" in str(line["exception"])

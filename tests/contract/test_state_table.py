"""The published table of activation phases is that of the code."""

import importlib.util
from pathlib import Path
from types import ModuleType

from edge_agent.update.states import Event

ROOT = Path(__file__).parents[2]


def load_maker() -> ModuleType:
    """Load the script that writes it."""
    path = ROOT / "scripts" / "make_state_table.py"
    spec = importlib.util.spec_from_file_location("make_state_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_phases_is_up_to_date() -> None:
    """A changed transition is a changed table, seen in review."""
    maker = load_maker()
    text = maker.DOCUMENT.read_text("utf-8")

    assert (text.count(maker.BEGIN), text.count(maker.END)) == (1, 1)
    assert text == maker.with_phases(text), "run: python scripts/make_state_table.py"


def test_the_table_has_every_event() -> None:
    """A new event cannot be forgotten."""
    assert set(load_maker()._EVENTS) == set(Event)

"""Modules that a process does without: put off until they are used, or hidden."""

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.base.lean import import_without, put_off

MADE = ("lean_late", "lean_taker", "lean_taken")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules to import; they are forgotten with the test."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in MADE:
        sys.modules.pop(name, None)


def test_what_is_put_off_is_loaded_at_its_first_use(modules: Path) -> None:
    """Imports alone do not load it; the first name that is wanted does."""
    (modules / "lean_late.py").write_text("import sys\nsys.lean_ran = 1\nanswer = 42\n")
    put_off("lean_late")

    first = importlib.import_module("lean_late")
    again = importlib.import_module("lean_late")

    assert first is again
    assert not hasattr(first, "__path__")
    assert not hasattr(sys, "lean_ran")
    assert first.answer == 42
    assert vars(sys).pop("lean_ran") == 1
    assert importlib.import_module("lean_late").answer == 42
    assert first.answer == 42
    with pytest.raises(AttributeError):
        _ = first.question


def test_a_name_may_be_imported_from_what_is_put_off(modules: Path) -> None:
    """``from`` is a use, of many threads at once too."""
    (modules / "lean_late.py").write_text("answer = 42\n")
    put_off("lean_late")
    found: list[int] = []
    stand_in = sys.modules["lean_late"]

    threads = [
        threading.Thread(target=lambda: found.append(stand_in.answer)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert found == [42] * 8
    namespace: dict[str, int] = {}
    exec("from lean_late import answer", namespace)  # noqa: S102 - our own text
    assert namespace["answer"] == 42


def test_what_is_loaded_is_left_as_it_is() -> None:
    """Nothing that somebody has already is taken from him."""
    put_off("threading")
    import_without("pytest", "threading")
    assert sys.modules["threading"] is threading


def test_a_hidden_module_is_missed_by_one_importer_only(modules: Path) -> None:
    """It counts as not installed while the other is imported, and is there after."""
    (modules / "lean_taken.py").write_text("answer = 42\n")
    (modules / "lean_taker.py").write_text(
        "try:\n    import lean_taken\n    got = True\nexcept ImportError:\n"
        "    got = False\n"
    )

    import_without("lean_taker", "lean_taken")

    assert sys.modules["lean_taker"].got is False
    assert importlib.import_module("lean_taken").answer == 42

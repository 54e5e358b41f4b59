"""Versions of installed packages, with and without their metadata folder's name."""

from pathlib import Path

import pytest

from edge_agent.base import installed
from edge_agent.base.installed import agent_version, installed_runtime

EGG = "Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.14.0\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder where modules are looked for."""
    monkeypatch.setattr("sys.path", [str(tmp_path / "absent"), str(tmp_path)])
    return tmp_path


def test_a_version_is_read_off_the_folders_name(place: Path) -> None:
    """A folder is enough; packages of similar names are not taken for it."""
    for name in ("ai_edge_litert-2.1.0", "ai_edge_litert_nightly-3.0", "shoal-0.1.0"):
        (place / f"{name}.dist-info").mkdir()
    assert installed_runtime() == "ai-edge-litert 2.1.0"
    assert agent_version() == "0.1.0"


def test_other_installations_are_found_by_their_metadata(place: Path) -> None:
    """A system's package has its metadata in a folder of another kind."""
    egg = place / "tflite_runtime-2.14.0.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text(EGG, "utf-8")
    assert installed_runtime() == "tflite-runtime 2.14.0"


def test_what_is_not_installed_has_no_version(place: Path) -> None:
    """No runtime is no name; an agent that runs from its sources says so."""
    assert installed.installed_version("ai-edge-litert") == ""
    assert installed_runtime() == ""
    assert agent_version() == "source"

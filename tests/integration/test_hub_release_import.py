"""``hub releases import`` where no device is needed: refusals, and what is kept."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_agent.base.clock import SystemClock
from hub.cli import cli
from hub.config import Home
from hub.errors import RefusedError
from hub.home import create_home
from hub.releases import importing
from hub.releases.importing import imported_bundle

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return a new hub."""
    made = Home(tmp_path_factory.mktemp("hub") / "home")
    create_home(made, SystemClock())
    return made


def hub(home: Home, *words: str | Path) -> Result:
    """Run a command of the hub in this process."""
    return CliRunner().invoke(cli, ["--home", str(home.path), *map(str, words)])


def test_an_import_is_a_release_with_its_contract(home: Home) -> None:
    """`get` tells what goes in and comes out; nothing is known of its accuracy."""
    done = hub(
        home, "releases", "import", DATA / "kinds" / "pump.tflite", "--name", "p"
    )
    assert done.exit_code == 0, done.stderr
    said = done.stdout.split()
    assert (said[0], said[2:]) == ("release", ["is", "published"])
    shown = hub(home, "releases", "get", said[1]).stdout
    assert "flow float32[4], level float32[1]" in shown
    assert "none: it answers with values" in shown
    listed = hub(home, "releases", "list").stdout
    assert "imported  -" in listed


def test_a_free_shape_and_a_refused_publication_are_passed_on(home: Home) -> None:
    """Options reach the trainer; --no-publish leaves the release unsigned."""
    source = DATA / "kinds" / "rows.tflite"
    done = hub(
        home,
        "releases",
        "import",
        source,
        "--shape",
        "rows=7,3",
        "--no-publish",
        "--flat-rows",
        "5",
        "--low",
        "-2",
        "--high",
        "2",
        "--json",
    )
    view = json.loads(done.stdout)
    assert view["state"] == "validated"
    bundle = json.loads(
        hub(home, "releases", "get", str(view["release"]), "--json").stdout
    )
    given = bundle["bundle"]["input"]
    assert (given["tensor"]["shape"], given["low"], given["high"]) == ([7, 3], -2, 2)
    assert given["flat_rows"] == 5


def test_what_the_trainer_refuses_is_told_with_its_cure(home: Home) -> None:
    """Its code, text and cure come through; no release is made."""
    before = hub(home, "releases", "list", "--json").stdout
    done = hub(home, "releases", "import", DATA / "kinds" / "text.tflite")
    assert done.exit_code == 7
    for word in ("HUB-RELEASE-013", "AGENT-MODEL-002", "int32 token numbers"):
        assert word in done.stderr
    assert hub(home, "releases", "list", "--json").stdout == before


def test_a_gate_that_refuses_takes_a_reason(home: Home, tmp_path: Path) -> None:
    """Worse than chance on the given labels: only with a stated reason."""
    rows = "\n".join("0.1,0.2,0.3,0.4,1.0,nobody" for _ in range(8))
    (tmp_path / "s.csv").write_text(f"a,b,c,d,e,label\n{rows}\n")
    (tmp_path / "l.txt").write_text("low\nmid\nhigh\n")
    words: Sequence[str | Path] = [
        "releases",
        "import",
        DATA / "kinds" / "pump-int8.tflite",
        "--samples",
        tmp_path / "s.csv",
        "--labels",
        tmp_path / "l.txt",
    ]
    done = hub(home, *words)
    assert done.exit_code == 7
    assert "HUB-RELEASE-008" in done.stderr
    taken = hub(home, *words, "--override-gate", "a trial")
    assert taken.exit_code == 0, taken.stderr


def test_a_model_that_kills_the_trainer_kills_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hub says how the process ended."""
    code = "import os; os.kill(os.getpid(), 11)"
    monkeypatch.setattr(importing, "COMMAND", (sys.executable, "-c", code))
    with (
        pytest.raises(RefusedError, match="ended with -11"),
        imported_bundle(DATA / "tiny.tflite", []),
    ):
        pytest.fail("there is no bundle")


def test_a_trainer_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import has a deadline."""
    code = "import time; time.sleep(60)"
    monkeypatch.setattr(importing, "COMMAND", (sys.executable, "-c", code))
    monkeypatch.setattr(importing, "TIMEOUT_S", 0.5)
    with (
        pytest.raises(RefusedError, match="took longer"),
        imported_bundle(DATA / "tiny.tflite", []),
    ):
        pytest.fail("there is no bundle")


def test_the_hub_imports_neither_trainer_nor_runtime() -> None:
    """A model made elsewhere is not a reason to load anything that could crash."""
    code = (
        "import sys; import hub.cli.release_import, hub.releases.importing;"
        "heavy = {'trainer', 'tensorflow', 'ai_edge_litert', 'numpy'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

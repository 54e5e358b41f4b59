"""``edge-agent bench``, and its reports kept by the hub."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.bench import read_energy_uj

DATA = Path(__file__).parents[1] / "data"
AGENT = (sys.executable, "-m", "edge_agent", "bench")


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [str(part) for part in argv]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def hub(home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the hub."""
    return run(sys.executable, "-m", "hub", "--home", home, *words)


@pytest.mark.parametrize("name", ["tiny-int8.tflite", "kinds/two.tflite"])
def test_every_figure_is_measured(name: str) -> None:
    """One input or several: counts agree, quantiles are in order, memory is real."""
    done = run(*AGENT, "--model", DATA / name, "--seconds", "0.3", "--json")
    found = json.loads(done.stdout)

    assert found["predictions"] == sum(found["latency"].values()) > 100
    assert 0 < found["p50_us"] <= found["p95_us"] <= found["p99_us"]
    assert found["p99_us"] <= found["max_us"] * 1.05
    assert 0 < found["cold_start_s"] < 30
    assert found["rss_bytes"] > 20 << 20


def test_people_see_a_histogram() -> None:
    """Figures with their units, and bars."""
    done = run(*AGENT, "--model", DATA / "tiny.tflite", "--seconds", "0.2")

    assert done.returncode == 0, done.stderr
    assert "median" in done.stdout
    assert "█" in done.stdout


def test_what_cannot_be_measured_says_why(tmp_path: Path) -> None:
    """No release, and a file that is no model, have their codes; nothing is written."""
    config = tmp_path / "agent.toml"
    config.write_text('[device]\nid = "d"\n[trust]\nroot = "root.json"\n')
    nothing = run(*AGENT, "--config", config)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    bad = run(*AGENT, "--model", broken, "--output", tmp_path / "out.json")

    assert "AGENT-MODEL-015" in nothing.stderr
    assert "AGENT-MODEL-001" in bad.stderr
    assert (nothing.returncode, bad.returncode) == (1, 1)
    assert not (tmp_path / "out.json").exists()


def test_the_hub_keeps_reports_by_hardware(tmp_path: Path) -> None:
    """The newest of each model and class is listed; adding one twice adds one."""
    home = tmp_path / "hub"
    files: list[Path] = []
    assert hub(home, "init", "--no-passphrase").returncode == 0
    for hardware in ("pi-4", "pi-5", "pi-5"):
        file = tmp_path / f"{len(files)}.json"
        options = ("--seconds", "0.1", "--hardware", hardware, "--output", file)
        done = run(*AGENT, "--model", DATA / "tiny.tflite", *options)
        assert done.returncode == 0, done.stderr
        files.append(file)

    added = json.loads(hub(home, "bench", "add", *files, files[0], "--json").stdout)
    listed = json.loads(hub(home, "bench", "list", "--json").stdout)
    newest = json.loads(files[2].read_text())
    mine = hub(home, "bench", "list", "--hardware", "pi-4")

    assert added == {"added": 3, "known": 1}
    assert [one["report"]["hardware"] for one in listed] == ["pi-4", "pi-5"]
    assert listed[1]["report"] == newest
    assert listed[0]["release"] == 0
    assert "pi-4" in mine.stdout
    assert "pi-5" not in mine.stdout


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    """With the file's name; nothing is kept."""
    home, bad = tmp_path / "hub", tmp_path / "bad.json"
    hub(home, "init", "--no-passphrase")
    bad.write_text('{"format": 1}')
    done = hub(home, "bench", "add", bad)

    assert done.returncode == 7
    assert "HUB-BENCH-001" in done.stderr
    assert "bad.json" in done.stderr


def test_energy_is_that_of_whole_packages(tmp_path: Path) -> None:
    """Parts of a package are in its own figure; what cannot be read counts nothing."""
    for name, used in (("intel-rapl:0", "700"), ("intel-rapl:0:0", "300")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(used)
    (tmp_path / "intel-rapl:1").mkdir()

    assert read_energy_uj(tmp_path) == 700
    assert read_energy_uj(tmp_path / "nowhere") == 0

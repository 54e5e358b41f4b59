"""kill -9 of agents, hub and broker: the short form of ``scripts/torture``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.plan import AGENT, BROKER, HUB, draw

ROOT = Path(__file__).parents[2]
KILLS = 110
LIMIT_S = 170.0


@pytest.mark.timeout(LIMIT_S + 20)
def test_nothing_is_lost_or_doubled_whatever_dies(tmp_path: Path) -> None:
    """After 110 kills the hub has what was committed, once, and little came twice."""
    report = tmp_path / "report.json"
    words = ["--kills", str(KILLS), "--seeds", "1", "--json", str(report)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(report.read_text("utf-8"))
    counts = [run["counts"] for run in document["runs"]]
    assert [run["persistence"] for run in document["runs"]] == [False, True]
    assert all(c["lost"] == c["duplicates"] == 0 for c in counts)
    assert all(c["stored_amid_kills"] > c["stored"] / 2 for c in counts)
    assert document["redelivered_ratio"] < 0.05


def test_a_seed_names_its_kills() -> None:
    """The same seed gives the same kills, another seed others, in the given shares."""
    first = draw(1, 1000, 3, persistence=False)

    assert first == draw(1, 1000, 3, persistence=False)
    assert first != draw(2, 1000, 3, persistence=False)
    shares = [sum(k.target == t for k in first) / 1000 for t in (AGENT, HUB, BROKER)]
    assert shares == pytest.approx([0.60, 0.25, 0.15], abs=0.05)
    assert all(0.1 <= kill.wait_s <= 0.75 for kill in first)

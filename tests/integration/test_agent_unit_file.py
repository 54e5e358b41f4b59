"""The systemd unit, judged by systemd's own tools."""

import subprocess
import sys
from pathlib import Path

UNIT = Path(__file__).parents[2] / "configs" / "systemd" / "edge-agent.service"


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool of systemd's; it needs no systemd that runs."""
    command = ["systemd-analyze", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_unit_is_hardened() -> None:
    """Its exposure is at most 2.0 of 10."""
    done = run("security", "--offline=true", "--threshold=20", UNIT)

    assert done.returncode == 0, done.stdout[-300:]


def test_the_unit_has_no_mistakes(tmp_path: Path) -> None:
    """Every key is known and every value can be read."""
    text = UNIT.read_text("utf-8").replace("/opt/shoal/bin/edge-agent", sys.executable)
    copy = tmp_path / UNIT.name
    copy.write_text(text, "utf-8")
    done = run("verify", "--man=no", copy)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_agent_may_ask_whether_its_clock_is_kept() -> None:
    """What judges a wrong clock is neither filtered away nor ends the process."""
    text = UNIT.read_text("utf-8")

    assert "SystemCallFilter=adjtimex clock_adjtime" in text
    assert "\nProtectClock=" not in text
    assert "SystemCallErrorNumber=EPERM" in text

"""The hub's systemd unit, judged by systemd's own tools."""

import subprocess
import sys
from pathlib import Path

UNIT = Path(__file__).parents[2] / "configs" / "systemd" / "shoal-hub.service"


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool of systemd's; it needs no systemd that runs."""
    command = ["systemd-analyze", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_hubs_unit_is_hardened() -> None:
    """Its exposure is at most 2.0 of 10."""
    done = run("security", "--offline=true", "--threshold=20", UNIT)

    assert done.returncode == 0, done.stdout[-300:]


def test_the_hubs_unit_has_no_mistakes(tmp_path: Path) -> None:
    """Every key is known and every value can be read."""
    text = UNIT.read_text("utf-8").replace("/opt/shoal/bin/hub", sys.executable)
    copy = tmp_path / UNIT.name
    copy.write_text(text, "utf-8")
    done = run("verify", "--man=no", copy)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_hubs_unit_keeps_files_and_descriptors() -> None:
    """Files are its user's only, and there are descriptors for a fleet."""
    text = UNIT.read_text("utf-8")

    assert "\nUMask=0077\n" in text
    assert "\nStateDirectoryMode=0700\n" in text
    assert "\nLimitNOFILE=65536\n" in text

"""What a TUF check adds to an agent's memory: fresh processes, a device's environment.

Without ``cryptography``, as devices have it: python-tuf then verifies with the pure
Python ed25519 that it brings along.
"""

import json
import shutil
import subprocess
from pathlib import Path

from edge_agent.wire.codec import encode
from tests.fakes.releases import make_release
from tests.fakes.tuf_repository import TufRepository
from tests.perf.footprint import MIB, install_agent
from tests.perf.report import Metric, medians

CHECK = Path(__file__).with_name("tuf_check.py")
RELEASES = 20


def measure(folder: Path) -> list[Metric]:
    """Return the medians of several fresh processes."""
    python = install_agent(folder / "env").with_name("python")
    home = folder / "check"
    home.mkdir()
    repository = TufRepository()
    for number in range(1, RELEASES + 1):
        made = make_release(repository, number)
    (home / "root.json").write_bytes(repository.root_versions[0])
    (home / "bundle.json").write_bytes(encode(repository.bundle()))
    wanted = [path for path in repository.targets if f"/{made.number}/" in path]
    (home / "targets.json").write_text(json.dumps(wanted), "utf-8")
    found = medians(lambda: _check(python, home))
    return [
        Metric(
            name="tuf_check_memory",
            value=found["most"] / MIB,
            unit="MiB at most, over the agent without it",
            at_most=4,
        ),
        Metric(name="tuf_import", value=found["imported"] / MIB, unit="MiB of these"),
        Metric(name="tuf_check", value=found["took_s"] * 1e3, unit="ms"),
    ]


def _check(python: Path, home: Path) -> dict[str, float]:
    shutil.rmtree(home / "tuf", ignore_errors=True)
    done = subprocess.run(
        [python, "-I", CHECK, home], check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures

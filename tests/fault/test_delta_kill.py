"""kill -9 wherever a model is made from a patch: half a model is never a model."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from edge_agent.delta.build import build_patch
from edge_agent.update.metadata import Trust
from edge_agent.wire.manifest import FileRef
from tests.fakes.agent_hub import artifact_server
from tests.fakes.delta_device import DeltaDevice
from tests.fakes.tuf_repository import sha256_of

ROOT = Path(__file__).parents[2]
MOST_TOUCHES = 40


def prepare(home: Path) -> DeltaDevice:
    """Return a device on release 1 that trusts release 2 and a patch to it."""
    device = DeltaDevice(home / "state")
    device.activate(device.releases[0])
    device.sign_patch(build_patch(device.base, device.target).data)
    root = device.repository.root_versions[0]
    (home / "root.json").write_bytes(root)
    trust = Trust(device.home / "tuf", root)
    trust.refresh(device.repository.bundle(), time.time())
    manifest = device.artifacts[trust.find(device.releases[1].target).sha256]
    device.store.write_release(2, manifest)
    return device


def test_kill_at_every_touch_of_a_file(tmp_path: Path) -> None:
    """After each kill the base is whole, and the model is or is not there.

    Nothing is cleaned in between: each process finds what all before it left.
    """
    device = prepare(tmp_path)
    base = FileRef(name="m", sha256=sha256_of(device.base), bytes=len(device.base))
    model = FileRef(name="m", sha256=sha256_of(device.target), bytes=len(device.target))
    kills = 0
    with artifact_server(device.artifacts) as (url, _):
        for touch in range(1, MOST_TOUCHES):
            device.store.path(model.sha256).unlink(missing_ok=True)
            words = [str(device.home), str(tmp_path / "root.json"), url, str(touch)]
            status = subprocess.run(
                [sys.executable, "-m", "tests.fakes.dying_delta", *words],
                cwd=ROOT,
                timeout=60,
                check=False,
            ).returncode
            assert device.store.read(base) == device.base
            if device.store.has(model):
                assert device.store.read(model) == device.target
            if status == 0:
                break
            assert status == -signal.SIGKILL
            kills += 1
    assert kills >= 5
    assert device.store.read(model) == device.target

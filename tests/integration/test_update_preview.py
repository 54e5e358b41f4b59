"""What ``edge-agent update check`` would download, where patches are signed."""

from dataclasses import replace
from pathlib import Path

from edge_agent.config import read_agent_config
from edge_agent.delta.build import build_patch
from edge_agent.preview import look
from edge_agent.store.slots import SlotStore
from edge_agent.update_source import web_source
from edge_agent.wire.codec import encode
from tests.fakes.agent_hub import artifact_server
from tests.fakes.delta_device import DeltaDevice
from tests.fakes.releases import assign
from tests.fakes.slot_worker import BOOT
from tests.fakes.tuf_repository import sha256_of

CONFIG = '[device]\nid = "d1"\nstate_dir = "state"\n[trust]\nroot = "root.json"\n'


def test_the_patch_is_counted_and_not_the_model(tmp_path: Path) -> None:
    """As the agent would: the patch for the model that is here, when it is smaller."""
    device = DeltaDevice(tmp_path / "state")
    device.activate(device.releases[0])
    patch = build_patch(device.base, device.target).data
    device.sign_patch(patch)
    (tmp_path / "root.json").write_bytes(device.repository.root_versions[0])
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG, "utf-8")
    blobs = device.artifacts | {"bundle.json": encode(device.repository.bundle())}
    with artifact_server(blobs) as (url, _):
        store = SlotStore(device.home / "agent.db", BOOT)
        wanted = assign(device.releases[1], "d1", 2, url)
        store.write(replace(store.read(), assignment=wanted, seq=2, phase="FETCH_META"))
        store.close()
        config = read_agent_config(path)
        before = sorted(p for p in device.home.rglob("*") if p.name != "agent.db-shm")

        found, _ = look(config, path, web_source(config, path, url))

    places = {file.sha256: file.place for file in found.files}
    assert places[sha256_of(patch)] == "hub"
    assert places[sha256_of(device.target)] == "patch"
    others = [f.bytes for f in found.files if f.name != "model.tflite"]
    assert found.fetch_bytes == sum(others)
    assert len(patch) in others
    left = sorted(p for p in device.home.rglob("*") if p.name != "agent.db-shm")
    assert left == before

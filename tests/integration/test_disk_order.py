"""What gets its name by a rename is on the disk first, on devices and on the hub."""

from pathlib import Path

import pytest

from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.disk import write_durably
from edge_agent.store.slots import BACKUP_FILE, Slots, SlotStore
from edge_agent.update.download import Ways, fetch_artifact
from hub.config import Home
from hub.files import write_durably as write_on_hub
from hub.home import create_home
from hub.releases.ceremony import NewKeys
from hub.service import open_services
from tests.fakes.agent_hub import artifact_server
from tests.fakes.disk_order import faults, recorded
from tests.hub_bundle import make_bundle
from tests.hub_keys import PASSPHRASE, HandClock
from tests.integration.test_agent_download import DATA, FILE


def test_a_download_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A digest as a name promises the content, after a power cut too."""
    store = ArtifactStore(tmp_path)
    with (
        artifact_server({FILE.sha256: DATA}) as (url, _),
        recorded(monkeypatch) as events,
    ):
        fetch_artifact(url, FILE, store, Ways(interrupted=lambda: False))
    assert faults(events, tmp_path / "artifacts") == []


def test_small_files_are_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Manifests and the copy of the slot row on devices, everything small on hubs."""
    slots = SlotStore(tmp_path / "agent.db")
    with recorded(monkeypatch) as events:
        slots.write(Slots(seq=1))
    slots.close()
    assert faults(events, tmp_path) == []
    assert (tmp_path / BACKUP_FILE).exists()
    for write in (write_durably, write_on_hub):
        with recorded(monkeypatch) as events:
            write(tmp_path / "file", b"data")
        assert faults(events, tmp_path) == []


def test_a_release_is_on_the_disk_before_its_row_and_its_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folder, artifacts and metadata of a hub: each synced, then named, then synced."""
    home = Home(tmp_path / "home")
    create_home(home, HandClock(), NewKeys(folder=tmp_path, passphrase=PASSPHRASE))
    bundle = make_bundle(tmp_path / "bundle")
    services = open_services(home, HandClock())
    with recorded(monkeypatch) as events:
        services.releases.publish(services.releases.take_in(bundle))
    services.engine.dispose()
    for folder in (home.releases, home.artifacts, home.tuf):
        assert faults(events, folder) == []
    synced = {Path(path).name for kind, path in events if kind == "sync"}
    assert {path.name for path in bundle.iterdir()} <= synced

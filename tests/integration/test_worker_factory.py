"""The factory model in the real worker: when it answers, and when it must not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.base.installed import installed_runtime
from edge_agent.store.factory import FactoryModel
from edge_agent.update.factory import try_factory
from edge_agent.wire.manifest import BUNDLE_FILE
from tests.fakes.releases import make_release, write_bundle
from tests.fakes.tuf_repository import TufRepository
from tests.fakes.worker_device import Device, samples


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device without a release, with a factory model that has passed."""
    made = Device(tmp_path)
    write_bundle(tmp_path / "factory", make_release(TufRepository(), 1))
    made.config.write_text(
        made.config.read_text() + '[factory]\nbundle = "factory"\n[api]\nunix = false\n'
    )
    assert model(made).load_problem() == ""
    made.assign(active=0)
    yield made
    made.kill()


class Model(FactoryModel):
    """The factory model of a device."""

    def load_problem(self) -> str:
        """Let it pass; return why not."""
        return try_factory(self, lambda: False)


def model(device: Device) -> Model:
    """Return a device's factory model."""
    return Model(device.folder / "factory", device.state, installed_runtime())


def damage(device: Device, release: int) -> None:
    """Damage a release's model."""
    sha256 = device.store.read_release(release).bundle.model.sha256
    device.store.path(sha256).write_bytes(b"not a model")


def served_by(device: Device) -> tuple[str, int]:
    """Return who answers."""
    made = device.client.infer("s", samples(1)[0])
    return made.served_by, made.release


def test_new_device_answers_with_its_factory_model(device: Device) -> None:
    """Nothing was ever assigned, and the device is of use; it says by which model."""
    device.start()

    assert served_by(device) == ("factory", 0)
    status = device.client.status()
    digest = model(device).load().release.bundle.model.sha256
    assert (status.release, status.sha256, status.problem) == (0, digest, "")
    assert device.client.stats().predictions == 1


def test_release_takes_its_place(device: Device) -> None:
    """What was assigned comes before it, and it comes back when that goes."""
    device.start()
    for active, expected in ((2, ("active", 2)), (0, ("factory", 0))):
        device.assign(active=active)
        device.client.reload()
        assert served_by(device) == expected


def test_it_comes_after_active_and_previous(device: Device) -> None:
    """Only where neither can be loaded it answers."""
    device.assign(active=2, previous=1)
    damage(device, 2)
    device.start()
    assert served_by(device) == ("active", 1)
    device.kill()
    damage(device, 1)
    device.start()

    assert served_by(device) == ("factory", 0)
    problem = device.client.status().problem
    assert "release 2" in problem
    assert "release 1" in problem


def test_what_did_not_pass_is_not_served(device: Device) -> None:
    """A bundle that is not the one that passed answers nobody."""
    model(device).forget()
    device.start()

    assert served_by(device)[0] == "rule"
    assert "AGENT-STORE-012" in device.client.status().problem


@pytest.mark.parametrize("name", ["model.tflite", "reference.json", BUNDLE_FILE])
def test_damaged_file_is_not_served(device: Device, name: str) -> None:
    """Every file is what the bundle says, at every load."""
    path = device.folder / "factory" / name
    path.write_bytes(path.read_bytes() + b" ")
    device.start()

    assert served_by(device)[0] == "rule"
    assert "AGENT-STORE-01" in device.client.status().problem


def test_it_passes_once_for_a_bundle_and_a_runtime(device: Device) -> None:
    """The self-test is done again for another runtime, and for other bytes only."""
    assert model(device).has_passed()
    folder, state = device.folder / "factory", device.state
    assert not FactoryModel(folder, state, "another 1.0").has_passed()
    manifest = folder / BUNDLE_FILE
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    assert not model(device).has_passed()
    assert model(device).load_problem() == ""
    assert model(device).has_passed()


def test_bad_one_is_refused_with_a_reason(tmp_path: Path) -> None:
    """Golden outputs that differ, and a folder that is not there, are told."""
    made = make_release(TufRepository(), 1, golden_shift=0.5)
    folder = write_bundle(tmp_path / "factory", made)
    bad = Model(folder, tmp_path, "r")
    assert "AGENT-UPDATE-041" in bad.load_problem()
    assert not bad.has_passed()

    absent = Model(tmp_path / "nothing", tmp_path, "r")
    assert "AGENT-STORE-011" in absent.load_problem()

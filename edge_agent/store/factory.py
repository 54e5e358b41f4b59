"""The factory model: a bundle folder that came with the device, image or package.

It is served where no release can be: on a new device before it ever met its hub, and
as the last step before SAFE_MODE. It has number 0. Invariants: every file is what the
bundle's digest says, over the bytes that are used; the worker takes only a bundle that
passed the self-test with the runtime that is installed now, which the state folder
remembers. Nobody signed it: whoever can write its folder can write the agent itself.
"""

from pathlib import Path

import msgspec

from edge_agent.base.digest import sha256_hex
from edge_agent.base.installed import installed_runtime
from edge_agent.base.regular import read_regular
from edge_agent.config import AgentConfig
from edge_agent.errors import StoreError
from edge_agent.store.artifacts import LoadedRelease, load_files
from edge_agent.store.disk import write_durably
from edge_agent.wire.codec import decode
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import (
    BUNDLE_FILE,
    MAX_ARTIFACT_BYTES,
    Bundle,
    FileRef,
    Release,
)

FACTORY_RELEASE = 0
PASSED_FILE = "factory.json"
UNREADABLE = "AGENT-STORE-011"


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """Which bundle (sha256 of its manifest) passed, and with which runtime."""

    bundle: str
    runtime: str


class FactoryModel:
    """The bundle folder, and what the state folder knows of it."""

    def __init__(self, folder: Path, state_dir: Path, runtime: str) -> None:
        """Point at both; ``runtime`` is name and version of the present one."""
        self.folder = folder
        self._passed = state_dir / PASSED_FILE
        self._runtime = runtime

    def has_passed(self) -> bool:
        """Tell whether the bundle that is there now passed its self-test."""
        try:
            wanted = self._mark()
            return msgspec.json.decode(self._passed.read_bytes(), type=Passed) == wanted
        except (OSError, msgspec.MsgspecError, StoreError):
            return False

    def mark_passed(self) -> None:
        """Remember that the bundle passed.

        Raises:
            StoreError: It cannot be read, or that cannot be written.
        """
        write_durably(self._passed, msgspec.json.encode(self._mark()))

    def forget(self) -> None:
        """Serve it no more until it passes again."""
        self._passed.unlink(missing_ok=True)

    def load(self) -> LoadedRelease:
        """Return the bundle, verified, if it passed.

        Raises:
            StoreError: It did not (``AGENT-STORE-012``), or it is damaged.
        """
        if not self.has_passed():
            raise StoreError(
                "AGENT-STORE-012", "the factory model has not passed its self-test"
            )
        return read_factory(self.folder)

    def _mark(self) -> Passed:
        manifest = _read(self.folder / BUNDLE_FILE)
        digest = sha256_hex(manifest)
        return Passed(bundle=digest, runtime=self._runtime)


def factory_model(config: AgentConfig, folder: Path) -> FactoryModel | None:
    """Return what the configuration, of this folder, names; ``None``: nothing."""
    if not config.factory.bundle:
        return None
    state_dir = folder / config.device.state_dir
    return FactoryModel(folder / config.factory.bundle, state_dir, installed_runtime())


def read_factory(folder: Path) -> LoadedRelease:
    """Return the bundle in a folder as release 0, every file verified.

    Raises:
        StoreError: A file is missing or not what the bundle says.
    """
    try:
        bundle = decode(_read(folder / BUNDLE_FILE), Bundle)
    except WireError as error:
        raise StoreError(UNREADABLE, f"factory model: {error}") from error

    def read(file: FileRef) -> bytes:
        data = _read(folder / file.name)
        if sha256_hex(data) != file.sha256:
            raise StoreError(
                UNREADABLE, f"factory model: {file.name} is not what its digest says"
            )
        return data

    release = Release(
        release=FACTORY_RELEASE,
        created_at=bundle.provenance.created_at,
        bundle=bundle,
    )
    return load_files(release, read)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_ARTIFACT_BYTES)
    except OSError as error:
        raise StoreError(
            UNREADABLE,
            f"factory model: {error}",
            cure="set factory.bundle in agent.toml to a bundle folder, or leave it out",
        ) from error

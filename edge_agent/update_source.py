"""Where an update that is looked at may come from: the agent, a folder, a server."""

from pathlib import Path
from typing import Protocol

from edge_agent.config import AgentConfig, place_tls
from edge_agent.store.slots import Slots
from edge_agent.update.download import Ways
from edge_agent.update.folder import Folder, NotInFolderError
from edge_agent.update.metadata import Trust
from edge_agent.update.verify import open_assignment
from edge_agent.update.web import fetch_bundle, fetch_file
from edge_agent.wire.control import Assignment, TufBundle
from edge_agent.wire.manifest import FileRef


class Source(Protocol):
    """Where metadata, an assignment and files may come from."""

    def bundle(self) -> TufBundle | None:
        """Return metadata; ``None``: what the agent has."""
        ...

    def assignment(self, device: str, trust: Trust, slots: Slots) -> Assignment | None:
        """Return the assignment to judge, verified; ``None``: there is none."""
        ...

    def manifest(self, file: FileRef) -> bytes | None:
        """Return the bytes of a manifest, unverified; ``None``: it has none."""
        ...

    def find(self, file: FileRef) -> Path | None:
        """Return a verified file of it; ``None``: it does not bring files."""
        ...


class FromAgent:
    """What the agent has: metadata that came, and nothing else."""

    def bundle(self) -> TufBundle | None:
        """Return nothing: the agent's own is checked."""
        return None

    def assignment(self, device: str, trust: Trust, slots: Slots) -> Assignment | None:
        """Return the one that the device has taken up."""
        del device, trust
        return slots.assignment

    def manifest(self, file: FileRef) -> bytes | None:
        """Return nothing."""
        del file
        return None

    def find(self, file: FileRef) -> Path | None:
        """Return nothing."""
        del file
        return None


class FromFolder(FromAgent):
    """A folder that a person brought."""

    def __init__(self, folder: Folder) -> None:
        """Read from it."""
        self._folder = folder

    def bundle(self) -> TufBundle | None:
        """Return its metadata."""
        return self._folder.bundle()

    def assignment(self, device: str, trust: Trust, slots: Slots) -> Assignment | None:
        """Return the one that it has for this device."""
        del slots
        try:
            envelope = self._folder.assignment(device)
        except NotInFolderError:
            return None
        return open_assignment(envelope, device, trust.verify)

    def manifest(self, file: FileRef) -> bytes | None:
        """Return its bytes."""
        return self._folder.check(file).read_bytes()

    def find(self, file: FileRef) -> Path | None:
        """Return where it is; it has every file, or it is refused."""
        return self._folder.check(file)


class FromWeb(FromAgent):
    """The HTTP server of a hub."""

    def __init__(self, url: str, ca: Path | None) -> None:
        """Ask this server."""
        self._url = url
        self._ways = Ways(interrupted=lambda: False, ca=ca)

    def bundle(self) -> TufBundle | None:
        """Return its metadata."""
        return fetch_bundle(self._url, self._ways)

    def manifest(self, file: FileRef) -> bytes | None:
        """Return its bytes."""
        return fetch_file(self._url, file, self._ways)


def web_source(config: AgentConfig, config_path: Path, url: str) -> FromWeb:
    """Return the source that is a hub's HTTP server."""
    broker = place_tls(config, config_path.resolve().parent)
    return FromWeb(url, Path(broker.tls.ca) if broker.tls.enabled else None)

"""``edge-agent tuf`` as a user runs it, and a web server with a repository for it."""

import contextlib
import functools
import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.fakes.tuf_repository import TufRepository


class Server:
    """A folder over HTTP, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        """Serve ``folder``."""
        asked = self.asked = list[str]()
        self.folder = folder

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_request(self, *_args: object) -> None:
                """Note the path."""
                asked.append(self.path)

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        handler = functools.partial(Handler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def publish(self, repository: TufRepository) -> None:
        """Write metadata and targets as a web server has them."""
        metadata, targets = self.folder / "metadata", self.folder / "targets"
        metadata.mkdir(exist_ok=True)
        for name, text in repository.bundle().files.items():
            (metadata / name).write_text(text, "utf-8")
        for path, data in repository.targets.items():
            place = targets / path
            place.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256(data).hexdigest()
            (place.parent / f"{digest}.{place.name}").write_bytes(data)


@contextlib.contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Make a folder and serve it."""
    folder.mkdir()
    made = Server(folder)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


class Client:
    """The command with folders of its own."""

    def __init__(self, folder: Path, url: str, root: bytes) -> None:
        """Begin to trust a root."""
        self.metadata, self.targets, self.url = folder / "m", folder / "t", url
        self.targets.mkdir()
        (folder / "given.json").write_bytes(root)
        done = self.run("init", str(folder / "given.json"))
        assert done.returncode == 0, done.stderr

    def refresh(self) -> subprocess.CompletedProcess[str]:
        """Bring metadata up to date."""
        return self.run("refresh", before=("--metadata-url", f"{self.url}/metadata"))

    def download(self, *names: str) -> subprocess.CompletedProcess[str]:
        """Fetch targets."""
        words = [word for name in names for word in ("--target-name", name)]
        words += ["--metadata-url", f"{self.url}/metadata"]
        words += ["--target-base-url", f"{self.url}/targets"]
        words += ["--target-dir", str(self.targets)]
        return self.run("download", before=tuple(words))

    def run(
        self, *words: str, before: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the group, with options ``before`` it."""
        command = [sys.executable, "-m", "edge_agent", "tuf"]
        place = ("--metadata-dir", str(self.metadata))
        return subprocess.run(
            [*command, *place, *before, *words],
            capture_output=True,
            text=True,
            check=False,
        )

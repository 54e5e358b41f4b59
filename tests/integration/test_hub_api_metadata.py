"""TUF metadata over HTTP: one whole set, and any TUF client's way to it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edge_agent.wire import codec
from edge_agent.wire.control import TufBundle
from hub.config import Home
from hub.service import open_services
from tests.carried import CONFIG, make_hub
from tests.hub_broker import free_port, is_listening


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a hub with one release."""
    return make_hub(tmp_path, releases=1)


@pytest.fixture
def url(home: Home) -> Iterator[str]:
    """Run ``hub serve`` without a broker and return its address."""
    port = free_port()
    home.config_file.write_text(f"{CONFIG}[api]\nport = {port}\n", "utf-8")
    words = [sys.executable, "-m", "hub", "--home", str(home.path), "serve"]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not is_listening(port):
        assert process.poll() is None
        assert time.monotonic() < deadline
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)


def tuf(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the metadata client by itself."""
    command = [sys.executable, "-m", "edge_agent", "tuf", "--metadata-dir", str(folder)]
    return subprocess.run(
        [*command, *words], capture_output=True, text=True, check=False
    )


def test_the_bundle_is_what_the_broker_retains(home: Home, url: str) -> None:
    """One answer holds the present set; it changes when that does."""
    services = open_services(home)
    before = httpx.get(f"{url}/tuf/bundle.json")
    services.releases.publish(1)
    after = httpx.get(f"{url}/tuf/bundle.json")
    now = services.releases.tuf_bundle()
    services.engine.dispose()

    assert before.headers["cache-control"] == "no-cache"
    assert codec.decode(after.content, TufBundle) == now
    assert before.content != after.content


def test_any_tuf_client_can_follow(home: Home, url: str, tmp_path: Path) -> None:
    """The client by itself verifies the hub's files from the root on."""
    trusted = tmp_path / "trusted"

    assert tuf(trusted, "init", str(home.root_file)).returncode == 0
    done = tuf(trusted, "--metadata-url", f"{url}/tuf", "refresh")

    assert done.returncode == 0, done.stderr
    assert (trusted / "timestamp.json").exists()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("timestamp.json", 200),
        ("1.root.json", 200),
        ("2.root.json", 404),
        ("hub.db", 422),
        ("..%2fhub.toml", 404),
        (".lock", 422),
    ],
)
def test_nothing_but_the_set_is_served(url: str, path: str, status: int) -> None:
    """Only names of metadata are looked up, and only in the present set."""
    assert httpx.get(f"{url}/tuf/{path}").status_code == status

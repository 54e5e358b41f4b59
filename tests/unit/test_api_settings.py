"""What ``[api]`` of agent.toml may say, and whom a request may come from."""

from pathlib import Path

import msgspec
import pytest

from edge_agent.config import ApiConfig, split_address
from edge_agent.errors import WorkerError
from edge_agent.serve.oip.access import Access
from edge_agent.worker_oip import read_token


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8080", "localhost:80", "[::1]:9", "127.5.5.5:65535", ""]
)
def test_this_machine_needs_no_token(address: str) -> None:
    """A loopback address, or no port at all, is fine by itself."""
    assert msgspec.convert({"http": address}, ApiConfig).http == address


@pytest.mark.parametrize(
    "settings",
    [
        {"http": "0.0.0.0:8080"},
        {"http": "10.0.0.5:8080", "token_file": "token"},
        {"http": "device.local:8080", "allow_remote": True},
        {"http": "[::]:8080"},
        {"grpc": "0.0.0.0:8081"},
        {"http": "127.0.0.1"},
        {"http": ":8080"},
        {"http": "127.0.0.1:99999"},
        {"max_body_bytes": 1},
    ],
)
def test_other_machines_need_a_token_and_leave(settings: dict[str, object]) -> None:
    """A listener for others is never opened by one setting alone."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, ApiConfig)


def test_with_both_another_address_is_taken() -> None:
    """Somebody has then decided it twice."""
    settings = {"http": "0.0.0.0:80", "token_file": "t", "allow_remote": True}
    assert msgspec.convert(settings, ApiConfig).allow_remote


def test_an_address_is_host_and_port() -> None:
    """An IPv6 address comes without its brackets."""
    assert split_address("[::1]:8080") == ("::1", 8080)
    assert split_address("localhost:1") == ("localhost", 1)


def test_a_token_is_its_files_line(tmp_path: Path) -> None:
    """Without the end of the line; the owner and a group may read it."""
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    path.chmod(0o640)
    assert read_token(path) == b"s3cret"
    assert Access(token=b"s3cret").knows("Bearer s3cret")
    assert not Access(token=b"s3cret").knows("Basic s3cret")
    assert not Access(token=b"s3cret").knows("Digest s3cret")
    assert not Access(token=b"s3cret").knows("")


@pytest.mark.parametrize(
    ("text", "mode"), [("s3cret", 0o644), ("", 0o600), ("x" * 2000, 0o600), (None, 0)]
)
def test_a_token_of_anybody_or_nobody_is_refused(
    tmp_path: Path, text: str | None, mode: int
) -> None:
    """Readable by all, empty, endless or absent."""
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(WorkerError) as caught:
        read_token(path)
    assert caught.value.code == "AGENT-HTTP-016"
    assert "s3cret" not in str(caught.value)

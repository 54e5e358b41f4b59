"""Files that others put there: regular, bounded, and never waited for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.base.regular import copy_regular, read_regular
from edge_agent.errors import UpdateError
from edge_agent.update.folder import TUF, Folder
from hub.errors import RefusedError
from hub.releases.intake import read_bundle
from trainer import bundle as trainer_bundle
from trainer.errors import DataError

MOST = 64


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


ODD: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link out of the folder": lambda path: path.symlink_to("/etc/hostname"),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "folder": Path.mkdir,
    "sparse file of 10 GiB": _sparse,
}


@pytest.fixture(params=[*ODD.values()], ids=[*ODD])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder whose bundle.json and only metadata is no file to read."""
    (tmp_path / TUF).mkdir()
    for path in (tmp_path / "bundle.json", tmp_path / TUF / "timestamp.json"):
        request.param(path)
    return tmp_path


def test_what_is_no_file_of_a_folder_is_refused_at_once(odd: Path) -> None:
    """By the hub, the trainer and a device that is brought the folder."""
    with pytest.raises(OSError, match=r"bundle\.json"):
        read_regular(odd / "bundle.json", MOST)
    with pytest.raises(OSError, match=r"bundle\.json"):
        copy_regular(odd / "bundle.json", odd / "copy", MOST)
    with pytest.raises(RefusedError, match=r"bundle\.json"):
        read_bundle(odd)
    with pytest.raises(DataError, match=r"bundle\.json"):
        trainer_bundle.read_bundle(odd)
    with pytest.raises(UpdateError, match=r"timestamp\.json"):
        Folder(odd).bundle()


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_node_is_no_file(device: str) -> None:
    """Also where the operator names it, who may name a link."""
    with pytest.raises(OSError, match="a device, not a regular file"):
        read_regular(Path(device), MOST, follow=True)


def test_an_operator_may_name_a_link(tmp_path: Path) -> None:
    """A model in a download cache is one; the bound holds for it too."""
    (tmp_path / "real").write_bytes(b"x" * MOST)
    (tmp_path / "link").symlink_to("real")
    assert len(read_regular(tmp_path / "link", MOST, follow=True)) == MOST
    with pytest.raises(OSError, match="more than 63 bytes"):
        read_regular(tmp_path / "link", MOST - 1, follow=True)

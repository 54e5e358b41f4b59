"""A device verifies with what it has: no ``cryptography``, no compiled library."""

import subprocess
import sys
from pathlib import Path

from edge_agent.wire.codec import encode
from tests.fakes.tuf_repository import TufRepository

VERIFIES = """
import sys, time
from pathlib import Path

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("cryptography", "nacl"):
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
from edge_agent.update.metadata import Trust
from edge_agent.wire.codec import decode
from edge_agent.wire.control import TufBundle

folder = Path(sys.argv[1])
trust = Trust(folder / "tuf", (folder / "root.json").read_bytes())
trust.refresh(decode((folder / "bundle.json").read_bytes(), TufBundle), time.time())
assert trust.find("models/m/1/release.json").bytes == 4
keyid, sig = sys.argv[2:]
assert trust.verify(keyid, b"payload", sig)
assert not trust.verify(keyid, b"another", sig)
assert "cryptography" not in sys.modules
"""


def test_metadata_and_signed_messages_are_verified_in_pure_python(
    tmp_path: Path,
) -> None:
    """The chain of trust holds, and a wrong signature is still refused."""
    repository = TufRepository()
    repository.add({"models/m/1/release.json": b"1234"})
    (tmp_path / "bundle.json").write_bytes(encode(repository.bundle()))
    (tmp_path / "root.json").write_bytes(repository.root_versions[0])
    keyid, sig = repository.sign(b"payload")

    done = subprocess.run(
        [sys.executable, "-c", VERIFIES, str(tmp_path), keyid, sig],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr

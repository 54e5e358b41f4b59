"""Golden vectors: what was once sent is read the same for ever."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from edge_agent.wire import batch, control, enrol, envelope, manifest, profile
from edge_agent.wire.codec import decode, encode
from edge_agent.wire.records import AnyRecord, Record

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "contract" / "vectors" / "v1"
KINDS = {
    kind.__name__: kind
    for module in (control, enrol, envelope, manifest, profile)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
}
CONTROL = sorted(
    path for path in FOLDER.glob("*.json") if path.name.split(".")[0] in KINDS
)
RECORDS = sorted(FOLDER.glob("*Record*.json"))
BATCHES = sorted(FOLDER.glob("*.batch"))


def load_maker() -> ModuleType:
    """Load the script that writes the vectors."""
    spec = importlib.util.spec_from_file_location(
        "make_vectors", ROOT / "scripts" / "make_vectors.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", CONTROL, ids=lambda path: path.stem)
def test_a_control_message_reads_and_writes_as_it_did(path: Path) -> None:
    """Decoding and encoding again gives the same document."""
    kind = KINDS[path.name.split(".")[0]]

    message = decode(path.read_bytes(), kind)

    assert msgspec.json.decode(encode(message)) == msgspec.json.decode(
        path.read_bytes()
    )


@pytest.mark.parametrize("path", CONTROL, ids=lambda path: path.stem)
def test_a_field_of_a_newer_peer_is_ignored(path: Path) -> None:
    """Every message may grow optional fields without breaking older readers."""
    kind = KINDS[path.name.split(".")[0]]
    document = msgspec.json.decode(path.read_bytes())

    newer = msgspec.json.encode({**document, "field_of_tomorrow": [1]})

    assert decode(newer, kind) == decode(path.read_bytes(), kind)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_reads_and_writes_as_it_did(path: Path) -> None:
    """Every kind of record has a vector that is still understood."""
    record = batch.decode_record(path.read_bytes())

    assert type(record).__name__ == path.name.split(".")[0]
    assert msgspec.json.decode(encode(record)) == msgspec.json.decode(path.read_bytes())


@pytest.mark.parametrize("path", BATCHES, ids=lambda path: path.stem)
def test_a_batch_reads_as_it_did(path: Path) -> None:
    """The compressed form of each kind still gives its record."""
    decoded = batch.decode_batch(path.read_bytes())
    record = batch.decode_record(path.with_suffix(".json").read_bytes())

    assert decoded.rows == [(7, record), (8, record)]


@pytest.mark.parametrize("seed", range(4))
def test_threads_may_decode_a_message_first_at_once(seed: int) -> None:
    """What a library builds at a type's first use is built when it is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.first_use", str(seed)],
        cwd=ROOT,
        check=False,
    )

    assert done.returncode == 0


def test_every_message_of_the_protocol_has_a_vector() -> None:
    """A new message without a vector would have no memory."""
    written = {path.name for path in FOLDER.iterdir()}

    assert set(load_maker().vectors()) == written
    assert {f"{kind.__name__}.json" for kind in Record.__subclasses__()} <= written
    assert len(AnyRecord.__args__) == len(Record.__subclasses__())

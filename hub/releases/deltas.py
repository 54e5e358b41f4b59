"""Patches to a release from what devices run now: built when it is published.

For each base the smallest of all ways is kept if it saves enough; a patch that needs no
base (the packed file) takes part. Patches lie in the release's folder beside
``deltas.json``, which is written last and names them; what is there already is not
built again, so publishing may be repeated and may die anywhere. Patches are a saving
and nothing else: without one, devices fetch the whole file.

Called by :mod:`hub.releases.service`.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from edge_agent.delta.build import Built, build_from, build_packed
from edge_agent.wire import codec
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import delta_name, delta_target
from edge_agent.wire.types import Count, Message, ReleaseNumber, Sha256, Short
from hub.files import write_durably
from hub.storage.releases import ReleaseRow

log = logging.getLogger(__name__)

DELTA_BUILT = "release.delta_built"

DELTAS_FILE = "deltas.json"
MAX_BASES = 4
"""So many of the newest live releases get a patch."""
MAX_MODEL_BYTES = 64 << 20
"""Of larger models none is built: it would take minutes and gigabytes."""


BaseSha256 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]


class Delta(Message, frozen=True, kw_only=True):
    """A patch; ``base_release`` 0 and an empty ``base_sha256``: it needs no base."""

    base_release: ReleaseNumber
    base_sha256: BaseSha256
    way: Short
    sha256: Sha256
    bytes: Count

    def target(self, name: str, release: int) -> str:
        """Return its path among the TUF targets."""
        return delta_target(name, release, self.base_sha256)


class _Deltas(Message, frozen=True, kw_only=True):
    """``deltas.json``. ``tried`` are the digests of all bases that were looked at."""

    deltas: list[Delta] = []
    tried: list[BaseSha256] = []


def read_deltas(folder: Path) -> list[Delta]:
    """Return the patches of the release in ``folder``."""
    return _read(folder).deltas


def delta_path(folder: Path, delta: Delta) -> Path:
    """Return where a patch is."""
    return folder / delta_name(delta.base_sha256)


def build_deltas(
    folder: Path, row: ReleaseRow, bases: Sequence[tuple[int, Path]]
) -> list[Delta]:
    """Build the patches of a release that are missing, and return all of them.

    Args:
        folder: The release's folder.
        row: The release.
        bases: Number and model file of each release that devices may run, best first.
    """
    known = _read(folder)
    if row.manifest.bundle.model.bytes > MAX_MODEL_BYTES:
        return known.deltas
    deltas, tried = list(known.deltas), set(known.tried)
    target = (folder / row.manifest.bundle.model.name).read_bytes()
    for number, data in [(0, b""), *_read_bases(bases, target)]:
        digest = hashlib.sha256(data).hexdigest() if number else ""
        if digest in tried:
            continue
        tried.add(digest)
        built = build_from(data, target) if number else build_packed(target)
        if built is not None and _is_wanted(built, target, deltas):
            deltas.append(_keep(folder, number, built))
            facts = {"release": row.release, "base": number, "way": built.way}
            log.info(DELTA_BUILT, extra={**facts, "bytes": len(built.data)})
    found = _Deltas(deltas=deltas, tried=sorted(tried))
    if found != known:
        write_durably(folder / DELTAS_FILE, codec.encode_pretty(found))
    return deltas


def _is_wanted(built: Built, target: bytes, deltas: Iterable[Delta]) -> bool:
    """Tell whether a patch saves enough, and more than one that needs no base."""
    packed = min((d.bytes for d in deltas if not d.base_sha256), default=len(target))
    return built.is_worth(target) and len(built.data) < packed


def _read_bases(
    bases: Iterable[tuple[int, Path]], target: bytes
) -> list[tuple[int, bytes]]:
    """Read the bases; the release's own bytes need no patch."""
    found = []
    for number, path in list(bases)[:MAX_BASES]:
        if path.stat().st_size <= MAX_MODEL_BYTES:
            data = path.read_bytes()
            if data != target:
                found.append((number, data))
    return found


def _keep(folder: Path, number: int, built: Built) -> Delta:
    delta = Delta(
        base_release=number,
        base_sha256=built.base,
        way=built.way,
        sha256=hashlib.sha256(built.data).hexdigest(),
        bytes=len(built.data),
    )
    write_durably(delta_path(folder, delta), built.data)
    return delta


def _read(folder: Path) -> _Deltas:
    """Return what was built; a patch that is not there any more is built anew."""
    try:
        found = codec.decode((folder / DELTAS_FILE).read_bytes(), _Deltas)
    except (OSError, WireError):
        return _Deltas()
    lost = {d.base_sha256 for d in found.deltas if not delta_path(folder, d).exists()}
    return _Deltas(
        deltas=[delta for delta in found.deltas if delta.base_sha256 not in lost],
        tried=[digest for digest in found.tried if digest not in lost],
    )

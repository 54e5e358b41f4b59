"""A model from a signed patch and a model that is here already.

The hub signs patches as targets of a release, named after the digest of the file that
they are for. Nothing depends on them: whatever goes wrong (the base is damaged, the
patch is, it makes something else or too much, the hub does not have it) is reported
once with a stable code, and the whole file is fetched. What a patch makes gets its name
only after length and digest were found to be those that are signed for the whole file.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from edge_agent.errors import StoreError, UpdateError
from edge_agent.store.artifacts import ArtifactStore
from edge_agent.store.disk import disk_error, sync_folder
from edge_agent.update.download import (
    BAD_ANSWER,
    FETCHED,
    INTERRUPTED,
    NO_SPACE,
    OTHER_DIGEST,
    REFUSED,
    TOO_LONG,
    InterruptedDownloadError,
    Ways,
    check_space,
)
from edge_agent.update.metadata import Trust
from edge_agent.update.patching import (
    Patching,
    PatchingError,
    PatchingInterruptedError,
    stream_patched,
)
from edge_agent.wire.manifest import FileRef, Release, delta_target

DELTA_FAILED = "AGENT-UPDATE-028"
FAILED = "artifact.delta_failed"
_NOT_THIS_PATCH = {
    NO_SPACE,
    TOO_LONG,
    OTHER_DIGEST,
    BAD_ANSWER,
    REFUSED,
}
"""Failures of a download after which the whole file may still come."""

log = logging.getLogger(__name__)

Fetch = Callable[[FileRef], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A signed patch, and the file here that it is for (``None``: it needs none)."""

    patch: FileRef
    base: FileRef | None


class DeltaWay:
    """Makes models from patches; remembers which patches are of no use here."""

    def __init__(self, store: ArtifactStore, trust: Trust, ways: Ways) -> None:
        """Work on one store; ``ways`` says when to stop, and is told of failures."""
        self._store, self._trust, self._ways = store, trust, ways
        self._useless: set[str] = set()

    def make_model(self, release: Release, present: Iterable[int], fetch: Fetch) -> str:
        """Make a release's model from a patch, if there is one and it is smaller.

        Args:
            release: What is to be there in the end.
            present: Numbers of the releases whose models are here, best first.
            fetch: Fetches an artifact.

        Returns:
            What it cost, for people; empty where the whole file has to be fetched.

        Raises:
            InterruptedDownloadError: It was asked to stop.
            UpdateError: The patch cannot be fetched for now (retryable).
            StoreError: The disk cannot be written.
        """
        model = release.bundle.model
        is_near = self._store.has(model) or self._ways.brings(model)
        offer = None if is_near else self.find(release, present)
        if offer is None:
            return ""
        try:
            part = self._store.part_path(model.sha256)
            check_space(part, model, beside=offer.patch.bytes)
            fetch(offer.patch)
            self._make(offer, model)
        except PatchingError as error:
            self._give_up(offer, str(error))
            return ""
        except UpdateError as error:
            if error.code not in _NOT_THIS_PATCH:
                raise
            self._give_up(offer, str(error))
            return ""
        self._store.drop(offer.patch)
        saved = model.bytes - offer.patch.bytes
        log.info(FETCHED, extra={"artifact": model.name, "saved_bytes": saved})
        return f"{model.name} by delta: {offer.patch.bytes} of {model.bytes} bytes"

    def in_use(self, release: Release, present: Iterable[int]) -> str:
        """Return the digest of the patch that would be fetched now; empty: none."""
        offer = self.find(release, present)
        return offer.patch.sha256 if offer else ""

    def find(self, release: Release, present: Iterable[int]) -> Offer | None:
        """Return the smallest patch that is worth it."""
        model = release.bundle.model
        offers = [
            offer
            for base in [*self._models(present), None]
            if (offer := self._offer(release, base)) is not None
        ]
        best = min(offers, key=lambda offer: offer.patch.bytes, default=None)
        if best is None:
            return None
        try:
            have = self._store.part_path(model.sha256).stat().st_size
        except OSError:
            have = 0
        return best if best.patch.bytes < model.bytes - have else None

    def _models(self, present: Iterable[int]) -> Iterator[FileRef]:
        for number in present:
            try:
                model = self._store.read_release(number).bundle.model
            except StoreError:
                continue
            if self._store.has(model):
                yield model

    def _offer(self, release: Release, base: FileRef | None) -> Offer | None:
        digest = base.sha256 if base else ""
        target = delta_target(release.bundle.name, release.release, digest)
        try:
            patch = self._trust.find(target)
        except UpdateError:
            return None
        useless = patch.sha256 in self._useless
        return None if useless else Offer(patch=patch, base=base)

    def _make(self, offer: Offer, model: FileRef) -> None:
        """Write the target beside its place, hash it, and give it its name."""
        part = self._store.part_path(model.sha256)
        base = self._store.path(offer.base.sha256) if offer.base else None
        patching = Patching(
            patch=self._store.path(offer.patch.sha256), base=base, length=model.bytes
        )
        digest, size = hashlib.sha256(), 0
        try:
            with part.open("wb") as out:
                for chunk in stream_patched(
                    patching, interrupted=self._ways.interrupted
                ):
                    digest.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            if size != model.bytes or digest.hexdigest() != model.sha256:
                raise PatchingError("what it makes is not what was signed")
            part.replace(self._store.path(model.sha256))
            sync_folder(part.parent)
        except OSError as error:
            raise disk_error(error) from error
        except PatchingInterruptedError as error:
            raise InterruptedDownloadError(
                INTERRUPTED, "interrupted", retryable=True
            ) from error
        finally:
            # Half a target would pass for the beginning of a download.
            part.unlink(missing_ok=True)

    def _give_up(self, offer: Offer, why: str) -> None:
        self._useless.add(offer.patch.sha256)
        self._store.drop(offer.patch)
        log.warning(FAILED, extra={"patch": offer.patch.name, "why": why})
        self._ways.tell(
            UpdateError(
                DELTA_FAILED,
                f"delta_failed: {offer.patch.name}: {why}; the whole file is fetched",
            )
        )

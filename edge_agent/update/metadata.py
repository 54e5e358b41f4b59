"""What TUF vouches for: trusted metadata, targets, and the keys of signed envelopes.

With :mod:`edge_agent.update.tuf_client` the only file that imports python-tuf. Metadata
comes as one retained message; the client sees it as a tiny web server. Invariants: the
chain of trust always begins with the root that the device was provisioned with; a
failed refresh leaves the trusted set as it was, but for a newer root, which counts as
soon as its signatures hold; expiry is judged at ``now``, which never runs behind the
newest hub-signed time; targets are never downloaded by TUF's client (it cannot resume).
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Signature
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from edge_agent.errors import UpdateError
from edge_agent.store.disk import disk_error, write_durably
from edge_agent.update.codes import DAMAGED_METADATA, INCOMPLETE_METADATA
from edge_agent.wire.codec import decode, encode
from edge_agent.wire.control import TufBundle, TufVersions
from edge_agent.wire.errors import WireError
from edge_agent.wire.manifest import FileRef
from edge_agent.wire.trust import read_min_release, read_signed_at

BUNDLE_CACHE = "bundle.json"
EXPIRED = "AGENT-UPDATE-011"
ONLINE_ROLE = "timestamp"
"""The role whose keys also sign assignments and commands."""
TIMESTAMP_FILE = "timestamp.json"
_NOT_FOUND = 404
_SHA256_HEX = 64
_ORIGIN = "bundle://hub/"
LIMITS = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=8,
    root_max_length=32_000,
    timestamp_max_length=16_000,
    snapshot_max_length=64_000,
    targets_max_length=256_000,
)
_CODES: tuple[tuple[type[Exception], str, str], ...] = (
    (tuf_errors.ExpiredMetadataError, EXPIRED, "metadata has expired"),
    (
        tuf_errors.UnsignedMetadataError,
        "AGENT-UPDATE-012",
        "metadata is not signed by the keys that may",
    ),
    (
        tuf_errors.BadVersionNumberError,
        "AGENT-UPDATE-013",
        "metadata is older than what this device has seen",
    ),
    (tuf_errors.DownloadError, INCOMPLETE_METADATA, "metadata is not complete"),
    (tuf_errors.RepositoryError, DAMAGED_METADATA, "metadata is not valid"),
)


class _BundleFetcher(FetcherInterface):
    """Serves the files of one bundle."""

    def __init__(self, bundle: TufBundle) -> None:
        self._files = bundle.files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
        text = self._files.get(name)
        if text is None:
            raise tuf_errors.DownloadHTTPError(f"no {name} in bundle", _NOT_FOUND)
        return iter([text.encode()])


class Trust:
    """The device's trusted metadata set; one owner thread."""

    def __init__(self, folder: Path, root: bytes) -> None:
        """Start from the provisioned root and what was trusted before.

        Args:
            folder: Where trusted metadata is kept.
            root: Bytes of the root metadata that the device was provisioned with.

        Raises:
            UpdateError: The root is not valid (AGENT-UPDATE-009).
            StoreError: The folder is not writable.
        """
        self._folder = folder
        self._root_bytes = root
        self._bundle = _cached_bundle(folder / BUNDLE_CACHE)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._updater = self._new_updater(self._bundle)
        except (tuf_errors.RepositoryError, DeserializationError) as error:
            raise UpdateError(
                "AGENT-UPDATE-009",
                f"the provisioned root is not valid TUF metadata: {error}",
                cure="set trust.root to the hub's root.json",
            ) from error
        except OSError as error:
            raise disk_error(error) from error
        # Follows the chain of roots kept on disk; without a bundle the rest cannot
        # be loaded yet, which is no error here.
        with contextlib.suppress(tuf_errors.RepositoryError, tuf_errors.DownloadError):
            self._updater.refresh()
        self._root = self._newest_root(self._updater)

    @property
    def online_keys(self) -> str:
        """Who signs timestamps, assignments and commands: changes when they do."""
        return ",".join(sorted(self._root.roles[ONLINE_ROLE].keyids))

    @property
    def min_release(self) -> int:
        """The lowest release that may be installed, by the offline key (0: any)."""
        trusted = self._updater._trusted_set  # noqa: SLF001 - no public way
        if "targets" not in trusted:
            return 0
        return read_min_release(trusted.targets.unrecognized_fields)

    @property
    def versions(self) -> TufVersions:
        """Versions of the trusted metadata (0: none yet)."""
        trusted = self._updater._trusted_set  # noqa: SLF001 - no public way
        known = {
            role: trusted[role].version
            for role in ("root", ONLINE_ROLE, "snapshot", "targets")
            if role in trusted
        }
        return TufVersions(**known)

    def refresh(self, bundle: TufBundle | None, now: float) -> None:
        """Check metadata and trust it from now on.

        Args:
            bundle: New metadata; ``None`` checks the present one again.
            now: The time that expiry is judged at, seconds since 1970.

        Raises:
            UpdateError: It is expired, unsigned, older or incomplete.
            StoreError: It cannot be kept.
        """
        chosen = self._bundle if bundle is None else bundle
        if not chosen.files:
            raise UpdateError(
                INCOMPLETE_METADATA, "no metadata came from the hub yet", retryable=True
            )
        with _mapped():
            updater = self._new_updater(chosen)
            trusted = updater._trusted_set  # noqa: SLF001 - no public way to set it
            trusted.reference_time = datetime.fromtimestamp(now, UTC)
            try:
                updater.refresh()
            finally:
                self._root = self._newest_root(updater)
        self._updater = updater
        if bundle is not None and bundle != self._bundle:
            write_durably(self._folder / BUNDLE_CACHE, encode(bundle))
            self._bundle = bundle

    def signed_at(self, bundle: TufBundle) -> float:
        """Return when the hub signed a bundle's timestamp, expired or not.

        It is a time that has been, whatever else is wrong with the bundle: 0 unless a
        key of the newest root signed it.
        """
        text = bundle.files.get(TIMESTAMP_FILE, "").encode()
        if len(text) > LIMITS.timestamp_max_length:
            return 0.0
        try:
            found = Metadata[Timestamp].from_bytes(text)
            self._root.verify_delegate(
                ONLINE_ROLE, found.signed_bytes, found.signatures
            )
        except tuf_errors.RepositoryError:
            return 0.0
        return read_signed_at(found.signed.unrecognized_fields)

    def find(self, target: str) -> FileRef:
        """Return digest and length of a target.

        Raises:
            UpdateError: No role that may vouches for it (AGENT-UPDATE-015), or
                delegated metadata is not valid.
        """
        with _mapped():
            info = self._updater.get_targetinfo(target)
        if info is None:
            raise UpdateError("AGENT-UPDATE-015", f"{target} is not a signed target")
        sha256 = info.hashes.get("sha256", "")
        if len(sha256) != _SHA256_HEX:
            raise UpdateError(DAMAGED_METADATA, f"{target} is signed without sha256")
        name = target.rsplit("/", 1)[-1]
        return FileRef(name=name, sha256=sha256, bytes=info.length)

    def verify(self, keyid: str, data: bytes, sig: str) -> bool:
        """Tell whether a key of the trusted ``timestamp`` role signed these bytes."""
        root = self._root
        if keyid not in root.roles[ONLINE_ROLE].keyids or keyid not in root.keys:
            return False
        try:
            root.keys[keyid].verify_signature(Signature(keyid, sig), data)
        except (UnverifiedSignatureError, VerificationError, ValueError):
            return False
        return True

    @staticmethod
    def _newest_root(updater: Updater) -> Root:
        return updater._trusted_set.root  # noqa: SLF001 - no public way

    def _new_updater(self, bundle: TufBundle) -> Updater:
        return Updater(
            metadata_dir=str(self._folder),
            metadata_base_url=_ORIGIN,
            fetcher=_BundleFetcher(bundle),
            config=LIMITS,
            bootstrap=self._root_bytes,
        )


def _cached_bundle(path: Path) -> TufBundle:
    try:
        return decode(path.read_bytes(), TufBundle, limit=4 << 20)
    except (OSError, WireError):
        return TufBundle(files={})


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (tuf_errors.RepositoryError, tuf_errors.DownloadError) as error:
        for kind, code, text in _CODES:
            if isinstance(error, kind):
                raise UpdateError(
                    code,
                    f"{text}: {error}",
                    retryable=code in {INCOMPLETE_METADATA, EXPIRED},
                ) from error
        raise
    except OSError as error:
        raise disk_error(error) from error

"""Releases: a bundle is taken in, numbered, signed and published.

A release's folder ``releases/<n>/`` appears in one rename; its number exists once the
database row does. Publication copies what devices need to ``artifacts/<sha256>`` and
then lets the TUF metadata vouch for it, with patches from what devices run now
(:mod:`hub.releases.deltas`). Both steps can be repeated. Called by the
command line, the retraining and the ticker (refresh).
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from edge_agent.base.clock import Clock
from edge_agent.wire import codec
from edge_agent.wire.control import TufBundle
from edge_agent.wire.manifest import (
    BUNDLE_FILE,
    RELEASE_FILE,
    Release,
    file_target,
    release_target,
)
from edge_agent.wire.types import Instant, Message, Text
from hub.clock_trust import is_trusted, require_trusted
from hub.config import Home, MonitorConfig
from hub.errors import ConflictError, HubError, RefusedError
from hub.files import sha256_of, sync_file, sync_folder, write_durably
from hub.releases.deltas import Delta, build_deltas, delta_path, read_deltas
from hub.releases.intake import Intake, check_bundle, copy_bundle_file, read_bundle
from hub.releases.tuf_repo import TargetRef, TufRepo
from hub.scratch import give_to_owner, scratch_file, scratch_folder, sweep
from hub.storage import devices as device_store
from hub.storage import releases as store
from hub.storage import rollouts as rollout_store
from hub.storage.db import transaction
from hub.storage.releases import ReleaseRow

log = logging.getLogger(__name__)

RELEASE_TAKEN_IN = "release.taken_in"
RELEASE_PUBLISHED = "release.published"
RELEASE_GATE_OVERRIDDEN = "release.gate_overridden"
TUF_REFRESHED = "tuf.refreshed"
TUF_NOT_REFRESHED = "tuf.not_refreshed"

INTAKE_FILE = "intake.json"
NEWEST_KEPT = 3
"""So many of the newest releases stay installable even if nothing uses them yet."""


class IntakeNote(Message, frozen=True, kw_only=True):
    """Kept beside a release: when it was taken in, and why against its gate."""

    at: Instant
    override_gate: Text = ""


class ReleaseService:
    """Takes in, publishes and lists releases."""

    def __init__(
        self,
        engine: Engine,
        home: Home,
        config: MonitorConfig,
        clock: Clock,
        tuf: TufRepo,
    ) -> None:
        """Work on one database and home folder; ``tuf`` signs what is published."""
        self._engine = engine
        self._home = home
        self._config = config
        self._clock = clock
        self._tuf = tuf
        self._not_signed = ""

    def take_in(self, bundle: Path, *, override_gate: str = "") -> int:
        """Check a bundle and make it the next release; nothing is left if refused.

        Raises:
            RefusedError: A check refused it (``HUB-RELEASE-001`` to ``-008``).
            ConflictError: These very bytes are a release already
                (``HUB-RELEASE-009``).
            HubError: The home folder takes nothing (``HUB-RELEASE-014``).
        """
        sweep(self._home.folders())
        with self._storing(), self._private_copy(bundle) as copy:
            intake = check_bundle(copy, override_gate=override_gate)
            self._refuse_duplicate(intake)
            number = self._become_release(copy, intake, override_gate)
        if not intake.bundle.gate.ok:
            log.warning(
                RELEASE_GATE_OVERRIDDEN,
                extra={"release": number, "reason": override_gate},
            )
        log.info(RELEASE_TAKEN_IN, extra={"release": number})
        return number

    def take_in_once(self, bundle: Path) -> int:
        """Take a bundle in, or return the release that it already is.

        For jobs, which may be judged again after a crash.

        Raises:
            RefusedError: A check refused it (``HUB-RELEASE-001`` to ``-008``).
        """
        with self._engine.connect() as conn:
            known = store.find_bundle(conn, sha256_of(bundle / BUNDLE_FILE))
        return self.take_in(bundle) if known is None else known

    def publish(self, release: int) -> None:
        """Sign a release and make it installable; repeating it does no harm.

        Raises:
            NotFoundError: There is no such release (``HUB-RELEASE-010``).
            ConflictError: The clock is not believed (``HUB-CLOCK-001``).
            HubError: The home folder takes nothing (``HUB-RELEASE-014``).
        """
        require_trusted(self._clock)
        row = self.get(release)
        sweep(self._home.folders())
        with self._storing():
            self._publish(row)
        log.info(RELEASE_PUBLISHED, extra={"release": release})

    def refresh(self) -> None:
        """Sign again what would expire; called by the ticker, again if it fails.

        A hub that cannot sign goes on with all that it can do; the alert
        ``signature_due`` tells, long before devices notice. While the clock is not
        believed nothing is signed.
        """
        if not is_trusted(self._clock):
            return
        try:
            if self._tuf.refresh(self._now()):
                log.info(TUF_REFRESHED, extra={"version": self._tuf.version()})
        except (HubError, OSError) as error:
            if str(error) != self._not_signed:
                log.error(TUF_NOT_REFRESHED, extra={"error": str(error)})  # noqa: TRY400 - expected
            self._not_signed = str(error)
        else:
            self._not_signed = ""

    def tuf_bundle(self) -> TufBundle:
        """Return all current TUF metadata."""
        return self._tuf.bundle()

    def authentic(self) -> dict[str, str]:
        """Return the files that devices may install: target path to sha256."""
        return self._tuf.targets()

    def min_release(self) -> int:
        """Return the lowest release that devices install (0: any)."""
        return self._tuf.min_release()

    def tuf_version(self) -> int:
        """Return a number that rises with every change of the metadata."""
        return self._tuf.version()

    def live(self, conn: Connection) -> list[ReleaseRow]:
        """Return the published releases that must stay installable."""
        rows = [r for r in store.list_releases(conn) if r.state == store.PUBLISHED]
        used = device_store.releases_in_use(conn)
        used |= {row.release for row in rows[-NEWEST_KEPT:]}
        for rollout in rollout_store.open_rollouts(conn):
            used |= {rollout.release, rollout.incumbent}
        current = rollout_store.last_completed(conn)
        if current is not None:
            used.add(current.release)
        return [row for row in rows if row.release in used]

    def list_releases(self) -> list[ReleaseRow]:
        """Return all releases by number."""
        with self._engine.connect() as conn:
            return store.list_releases(conn)

    def get(self, release: int) -> ReleaseRow:
        """Return one release.

        Raises:
            NotFoundError: There is no such release (``HUB-RELEASE-010``).
        """
        with self._engine.connect() as conn:
            return store.require_release(conn, release)

    def deltas(self, release: int) -> list[Delta]:
        """Return the patches to a release's model."""
        return read_deltas(self._folder(release))

    def note(self, release: int) -> IntakeNote:
        """Return what was noted when a release was taken in."""
        path = self._folder(release) / INTAKE_FILE
        return codec.decode(path.read_bytes(), IntakeNote)

    def _folder(self, release: int) -> Path:
        return self._home.releases / str(release)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)

    def _publish(self, row: ReleaseRow) -> None:
        with self._engine.connect() as conn:
            rows = [other for other in self.live(conn) if other.release != row.release]
        for path in (*self._device_files(row), *self._delta_files(row, rows)):
            self._put_artifact(path)
        sync_folder(self._home.artifacts)
        models = {"", *(live.model_sha256 for live in rows)}
        targets = [ref for r in (*rows, row) for ref in self._targets(r, models)]
        self._tuf.publish(targets, self._now())
        with transaction(self._engine) as conn:
            store.mark_published(conn, row.release, self._clock.wall())

    @contextmanager
    def _storing(self) -> Iterator[None]:
        """Say what it is when the home folder or its database takes nothing."""
        try:
            yield
        except (OSError, OperationalError) as error:
            why = error.orig if isinstance(error, OperationalError) else error
            raise HubError(
                "HUB-RELEASE-014",
                f"nothing can be stored in {self._home.path}: {why}",
                cure="make room, or let it be written, and do the same again:"
                " what was there before is whole",
                retryable=True,
            ) from error

    @contextmanager
    def _private_copy(self, source: Path) -> Iterator[Path]:
        """Copy what ``bundle.json`` names; the copy is gone at the end if unused."""
        bundle = read_bundle(source)
        names = [BUNDLE_FILE, *(ref.name for ref in bundle.files)]
        self._home.releases.mkdir(parents=True, exist_ok=True)
        with scratch_folder(self._home.releases) as copy:
            for name in names:
                file = source / name
                copy_bundle_file(file, copy / name)
                give_to_owner(copy, copy / name)
                sync_file(copy / name)
            yield copy

    def _refuse_duplicate(self, intake: Intake) -> None:
        with self._engine.connect() as conn:
            same = store.find_bundle(conn, intake.bundle_sha256)
        if same is not None:
            raise ConflictError(
                "HUB-RELEASE-009",
                f"this bundle is release {same} already",
                cure=f"`hub rollouts start {same}` rolls it out",
            )

    def _calibrate(self, intake: Intake) -> str:
        from hub.monitor.calibrate import calibrate

        thresholds = calibrate(
            intake.reference,
            intake.values,
            intake.groups,
            baseline_rows=self._config.baseline_rows,
            recent_rows=self._config.recent_rows,
        )
        return codec.encode(thresholds).decode()

    def _become_release(self, copy: Path, intake: Intake, override_gate: str) -> int:
        """Give a checked copy its number; folder and row appear together or not."""
        thresholds = self._calibrate(intake)
        now = self._clock.wall()
        note = IntakeNote(at=now, override_gate=override_gate)
        write_durably(copy / INTAKE_FILE, codec.encode_pretty(note))
        with transaction(self._engine) as conn:
            number = store.next_release(conn)
            manifest = Release(release=number, created_at=now, bundle=intake.bundle)
            write_durably(copy / RELEASE_FILE, codec.encode_pretty(manifest))
            row = ReleaseRow(
                release=number,
                name=intake.bundle.name,
                state=store.VALIDATED,
                bundle_sha256=intake.bundle_sha256,
                model_sha256=intake.bundle.model.sha256,
                manifest=manifest,
                thresholds=thresholds,
                created_at=now,
                published_at=None,
            )
            # The row first: its number is then nobody else's, nor is its folder.
            store.insert_release(conn, row)
            self._move_in(copy, number)
        return number

    def _move_in(self, copy: Path, number: int) -> None:
        """Rename the copy to the release's folder.

        A folder of this number without a row is what a crash left: the number was
        never given.
        """
        folder = self._folder(number)
        shutil.rmtree(folder, ignore_errors=True)
        sync_folder(copy)
        copy.rename(folder)
        sync_folder(self._home.releases)

    def _device_files(self, row: ReleaseRow) -> list[Path]:
        folder = self._folder(row.release)
        names = [ref.name for ref in row.manifest.bundle.device_files]
        return [folder / name for name in (RELEASE_FILE, *names)]

    def _delta_files(self, row: ReleaseRow, live: list[ReleaseRow]) -> list[Path]:
        """Build the patches from the live releases of the same model."""
        folder = self._folder(row.release)
        bases = [
            (base.release, self._folder(base.release) / base.manifest.bundle.model.name)
            for base in reversed(live)
            if base.name == row.name
        ]
        deltas = build_deltas(folder, row, bases)
        return [delta_path(folder, delta) for delta in deltas]

    def _put_artifact(self, path: Path) -> None:
        """Copy a file into the artifacts under its digest, whole or not at all."""
        digest = sha256_of(path)
        target = self._home.artifacts / digest
        if target.exists():
            return
        self._home.artifacts.mkdir(parents=True, exist_ok=True)
        with scratch_file(self._home.artifacts, digest) as (handle, part):
            shutil.copyfile(path, part)
            if sha256_of(part) != digest:
                raise RefusedError("HUB-RELEASE-011", f"{path} changed while copied")
            os.fsync(handle)
            part.replace(target)

    def _targets(self, row: ReleaseRow, models: set[str]) -> list[TargetRef]:
        """Return a release's targets; patches only from one of the ``models``."""
        path = self._folder(row.release) / RELEASE_FILE
        bundle, number = row.manifest.bundle, row.release
        return [
            TargetRef(
                path=release_target(bundle.name, number),
                sha256=sha256_of(path),
                length=path.stat().st_size,
            ),
            *(
                TargetRef(
                    path=file_target(bundle.name, number, ref),
                    sha256=ref.sha256,
                    length=ref.bytes,
                )
                for ref in bundle.device_files
            ),
            *(
                TargetRef(
                    path=delta.target(bundle.name, number),
                    sha256=delta.sha256,
                    length=delta.bytes,
                )
                for delta in self.deltas(number)
                if delta.base_sha256 in models
            ),
        ]

"""Releases in the database. Plain functions; the caller owns the transaction."""

from dataclasses import dataclass

from sqlalchemy import Connection, Row, func, insert, select, update

from edge_agent.wire import codec
from edge_agent.wire.manifest import Release
from hub.errors import NotFoundError
from hub.storage.tables import DEVICES, RELEASES

VALIDATED = "validated"
PUBLISHED = "published"
MAX_LEAP = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRow:
    """A release: its manifest, and the thresholds calibrated for it (JSON)."""

    release: int
    name: str
    state: str
    bundle_sha256: str
    model_sha256: str
    manifest: Release
    thresholds: str
    created_at: float
    published_at: float | None


def next_release(conn: Connection) -> int:
    """Return the number that the next release gets: above any that is in the world.

    A hub that was restored gave numbers which it does not know, but devices run them.
    What a device says is believed as far as :data:`MAX_LEAP` above the hub's own: no
    device can use the numbers up.
    """
    own = int(conn.execute(select(func.max(RELEASES.c.release))).scalar() or 0)
    within = DEVICES.c.release.between(own, own + MAX_LEAP)
    seen = conn.execute(select(func.max(DEVICES.c.release)).where(within)).scalar()
    return max(own, int(seen or 0)) + 1


def insert_release(conn: Connection, row: ReleaseRow) -> None:
    """Store a release."""
    conn.execute(
        insert(RELEASES).values(
            release=row.release,
            name=row.name,
            state=row.state,
            bundle_sha256=row.bundle_sha256,
            model_sha256=row.model_sha256,
            manifest=codec.encode(row.manifest).decode(),
            thresholds=row.thresholds,
            created_at=row.created_at,
            published_at=row.published_at,
        )
    )


def get_release(conn: Connection, release: int) -> ReleaseRow | None:
    """Return one release, or ``None``."""
    found = select(RELEASES).where(RELEASES.c.release == release)
    row = conn.execute(found).one_or_none()
    return None if row is None else _release(row)


def require_release(conn: Connection, release: int) -> ReleaseRow:
    """Return one release.

    Raises:
        NotFoundError: There is no such release (``HUB-RELEASE-010``).
    """
    row = get_release(conn, release)
    if row is None:
        raise NotFoundError(
            "HUB-RELEASE-010",
            f"there is no release {release}",
            cure="`hub releases list` shows what there is",
        )
    return row


def list_releases(conn: Connection) -> list[ReleaseRow]:
    """Return all releases by number."""
    found = select(RELEASES).order_by(RELEASES.c.release)
    return [_release(row) for row in conn.execute(found)]


def find_bundle(conn: Connection, bundle_sha256: str) -> int | None:
    """Return the release that was made of these bytes, or ``None``."""
    found = select(RELEASES.c.release).where(RELEASES.c.bundle_sha256 == bundle_sha256)
    return conn.execute(found).scalar_one_or_none()


def mark_published(conn: Connection, release: int, at: float) -> None:
    """Note that a release is signed and its metadata published."""
    conn.execute(
        update(RELEASES)
        .where(RELEASES.c.release == release)
        .values(state=PUBLISHED, published_at=at)
    )


def _release(row: Row[tuple[object, ...]]) -> ReleaseRow:
    return ReleaseRow(
        release=row.release,
        name=row.name,
        state=row.state,
        bundle_sha256=row.bundle_sha256,
        model_sha256=row.model_sha256,
        manifest=codec.decode(row.manifest.encode(), Release),
        thresholds=row.thresholds,
        created_at=row.created_at,
        published_at=row.published_at,
    )

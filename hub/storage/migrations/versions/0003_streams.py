"""Records name their stream by a number, so that their index is a third as wide."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rebuild both tables beside the old ones, copy, and take the old ones' names."""
    op.rename_table("streams", "old_streams")
    op.rename_table("records", "old_records")
    op.drop_index("records_by_kind", "old_records")
    op.drop_index("records_in_order", "old_records")
    _create_streams()
    _create_records()
    _copy()
    op.drop_table("old_records")
    op.drop_table("old_streams")


def _create_streams() -> None:
    op.create_table(
        "streams",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=16), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("watermark", sa.BigInteger(), nullable=False),
        sa.Column("top", sa.BigInteger(), nullable=False),
        sa.Column("evicted", sa.Integer(), nullable=False),
        sa.Column("redelivered", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("device", "boot", "lane", name="streams_once"),
        sqlite_autoincrement=True,
    )


def _create_records() -> None:
    op.create_table(
        "records",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("stream", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("stream", "seq", name="records_of_stream"),
        sqlite_autoincrement=True,
    )
    _create_partial_index("records_profiles", ["id"], "kind = 'profile'")
    _create_partial_index(
        "records_by_stream",
        ["stream", "received_at"],
        "kind = 'update' OR kind = 'sample'",
    )


def _create_partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(
        name,
        "records",
        columns,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def _copy() -> None:
    op.execute(
        "INSERT INTO streams (device, boot, lane, watermark, top, evicted, redelivered)"
        " SELECT r.device, r.boot, r.lane, COALESCE(MAX(s.watermark), 0), MAX(r.top),"
        " COALESCE(MAX(s.evicted), 0), COALESCE(MAX(s.redelivered), 0) FROM ("
        "  SELECT device, boot, lane, MAX(seq) AS top FROM old_records"
        "  GROUP BY device, boot, lane"
        "  UNION ALL SELECT device, boot, lane, 0 FROM old_streams) r"
        " LEFT JOIN old_streams s"
        " ON s.device = r.device AND s.boot = r.boot AND s.lane = r.lane"
        " GROUP BY r.device, r.boot, r.lane"
    )
    op.execute(
        "INSERT INTO records"
        " (id, stream, seq, kind, at, received_at, release, body)"
        " SELECT r.id, s.id, r.seq, r.kind, r.at, r.received_at, r.release, r.body"
        " FROM old_records r JOIN streams s"
        " ON s.device = r.device AND s.boot = r.boot AND s.lane = r.lane"
        " ORDER BY r.id"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "SELECT setval(pg_get_serial_sequence('records', 'id'),"
            " COALESCE((SELECT MAX(id) FROM records), 0) + 1, false)"
        )

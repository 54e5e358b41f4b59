"""Devices that are retired or forgotten, and when the hub last had its broker."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add column and tables; no device is gone yet."""
    op.add_column("devices", sa.Column("retired_at", sa.Float()))
    op.create_table(
        "tombstones",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("forgotten_at", sa.Float(), nullable=False),
        sa.Column("pending", sa.String(64), nullable=False, server_default=""),
        sa.Column("erased_at", sa.Float()),
    )
    op.create_table(
        "hub_links",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("up", sa.Boolean(), nullable=False),
        sa.Column("since_at", sa.Float(), nullable=False),
        sa.Column("beat_at", sa.Float(), nullable=False),
    )

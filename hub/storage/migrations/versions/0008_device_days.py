"""What each device had stored on each day, for the quota."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; days before it have no quota."""
    op.create_table(
        "device_days",
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("day", sa.Integer(), primary_key=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("gone_rows", sa.BigInteger(), nullable=False),
        sa.Column("gone_bytes", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("bulk_after", sa.BigInteger(), nullable=False),
        sa.Column("any_after", sa.BigInteger(), nullable=False),
    )
    op.create_index("device_days_by_day", "device_days", ["day"])

"""What models cost on each hardware class, as devices measured it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "benches",
        sa.Column("hardware", sa.String(128), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("at", sa.Float(), primary_key=True),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )

"""Streams remember up to where their records were deleted because of their age."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; nothing was deleted yet."""
    op.add_column(
        "streams",
        sa.Column("pruned", sa.BigInteger(), nullable=False, server_default="0"),
    )

"""Second chances of devices, what they go back to, and labels of two releases."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what is stored has none of these."""
    op.add_column(
        "rollout_devices",
        sa.Column("retries", sa.Integer(), nullable=False, server_default="0"),
    )
    op.add_column(
        "rollout_devices",
        sa.Column("retried_after", sa.Text(), nullable=False, server_default=""),
    )
    op.add_column("rollout_devices", sa.Column("prior_release", sa.Integer()))
    op.add_column("feedback", sa.Column("other_release", sa.Integer()))
    op.add_column("feedback", sa.Column("other_correct", sa.Boolean()))

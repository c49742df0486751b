"""Whether a detector picks its queries among proposals.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; unknown for the checkpoints that are there."""
    op.add_column("checkpoints", sa.Column("two_stage", sa.Boolean(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("checkpoints", "two_stage")

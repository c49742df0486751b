"""Black-box checkpoints and further teachers.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_OF_DETECTORS = {
    "family": sa.String(),
    "parameters": sa.BigInteger(),
    "queries": sa.Integer(),
    "decoder_layers": sa.Integer(),
    "width": sa.Integer(),
}


def upgrade() -> None:
    """Apply."""
    op.add_column("checkpoints", sa.Column("kind", sa.String(), server_default="detector", nullable=False))
    op.add_column("checkpoints", sa.Column("scores", sa.String(), nullable=True))
    for name, kind in _OF_DETECTORS.items():
        op.alter_column("checkpoints", name, existing_type=kind, nullable=True)
    op.add_column(
        "jobs",
        sa.Column(
            "further_teacher_ids", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
    )


def downgrade() -> None:
    """Take back; fails while there are black boxes, which the older tables cannot hold."""
    op.drop_column("jobs", "further_teacher_ids")
    for name, kind in _OF_DETECTORS.items():
        op.alter_column("checkpoints", name, existing_type=kind, nullable=False)
    op.drop_column("checkpoints", "scores")
    op.drop_column("checkpoints", "kind")

"""Attempts since the last progress, limits of time, the journal, and files of running jobs.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_OF_JOBS = (
    sa.Column("attempts_without_progress", sa.Integer(), server_default="0", nullable=False),
    sa.Column("max_runtime_seconds", sa.Float(), nullable=True),
    sa.Column("ran_seconds", sa.Float(), server_default="0", nullable=False),
    sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("begin_anew", sa.Boolean(), server_default="false", nullable=False),
    sa.Column("journal_sequence", sa.BigInteger(), server_default="0", nullable=False),
)


def upgrade() -> None:
    """Apply; attempts so far count as attempts without progress."""
    for column in _OF_JOBS:
        op.add_column("jobs", column)
    op.execute("update jobs set attempts_without_progress = attempt, claimed_at = started_at")
    op.add_column("artifacts", sa.Column("modified_ns", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    """Take back."""
    op.drop_column("artifacts", "modified_ns")
    for column in reversed(_OF_JOBS):
        op.drop_column("jobs", column.name)

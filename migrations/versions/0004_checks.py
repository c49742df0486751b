"""Datasets and checkpoints are checked by processes of their own; jobs wait for them.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_JSON = postgresql.JSONB(astext_type=sa.Text())
_STATES = "state in ('checking', 'ready', 'refused')"
_TABLES = ("datasets", "checkpoints")


def upgrade() -> None:
    """Apply; what is there was checked before it was stored, so that it is ready."""
    for table in _TABLES:
        op.add_column(table, sa.Column("state", sa.String(), server_default="ready", nullable=False))
        op.add_column(table, sa.Column("error", _JSON, nullable=True))
        op.add_column(table, sa.Column("check_fence", sa.BigInteger(), server_default="0", nullable=False))
        op.add_column(table, sa.Column("check_attempts", sa.Integer(), server_default="0", nullable=False))
        op.add_column(table, sa.Column("check_lease_until", sa.DateTime(timezone=True), nullable=True))
        op.create_check_constraint(op.f(f"ck_{table}_state"), table, _STATES)
        op.create_index(f"ix_{table}_checking", table, ["id"], postgresql_where=sa.text("state = 'checking'"))
    op.add_column("datasets", sa.Column("options", _JSON, nullable=True))
    op.add_column("checkpoints", sa.Column("coverage", _JSON, nullable=True))
    op.add_column("checkpoints", sa.Column("warnings", _JSON, server_default="[]", nullable=False))
    op.alter_column("checkpoints", "kind", existing_type=sa.String(), server_default=None, nullable=True)
    op.alter_column("checkpoints", "sha256", existing_type=sa.String(), nullable=True)
    op.add_column("jobs", sa.Column("waiting_for", _JSON, server_default="[]", nullable=False))
    op.create_index(
        "ix_jobs_held", "jobs", ["id"], postgresql_where=sa.text("state = 'queued' and waiting_for <> '[]'")
    )
    op.create_table(
        "checkers",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("warnings", _JSON, nullable=False),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_checkers")),
    )


def downgrade() -> None:
    """Take back; what was not accepted goes, with the jobs that wait for it: the older tables cannot hold it."""
    op.drop_table("checkers")
    op.execute("delete from jobs where waiting_for <> '[]'")
    op.drop_index("ix_jobs_held", table_name="jobs")
    op.drop_column("jobs", "waiting_for")
    for table, columns in (("datasets", ("dataset_id",)), ("checkpoints", ("teacher_id", "student_id"))):
        for column in columns:
            op.execute(
                f"delete from jobs where {column} in (select id from {table} where state <> 'ready')"
            )
        op.execute(f"delete from {table} where state <> 'ready'")
    op.alter_column("checkpoints", "sha256", existing_type=sa.String(), nullable=False)
    op.alter_column("checkpoints", "kind", existing_type=sa.String(), server_default="detector", nullable=False)
    op.drop_column("checkpoints", "warnings")
    op.drop_column("checkpoints", "coverage")
    op.drop_column("datasets", "options")
    for table in _TABLES:
        op.drop_index(f"ix_{table}_checking", table_name=table)
        op.drop_constraint(op.f(f"ck_{table}_state"), table, type_="check")
        for column in ("check_lease_until", "check_attempts", "check_fence", "error", "state"):
            op.drop_column(table, column)

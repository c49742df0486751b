"""One mapping of teachers: in configurations, results and pointers, and as rows of a table of their own.

Earlier versions told a first teacher (`teacher`, `methods`, `teacher_id`) from further ones (`further_teachers`,
`further_teacher_ids`). What they stored is converted here; the functions are written out, because a migration must not
change with the code.

Revision ID: 0007
Revises: 0006
"""

import json
import re
from itertools import chain, count
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

FIRST = "teacher"
METHODS = (
    "matched_logits", "target_features", "query_prior", "distillation_points", "feature_maps", "foreground_memory",
)  # fmt: skip


def first_name(config: dict[str, Any]) -> str:
    """The name of the first teacher: `teacher`, or `teacher-2`, ... where a further one is called so."""
    further = config.get("further_teachers") or {}
    names = chain([FIRST], (f"{FIRST}-{number}" for number in count(2)))
    return next(name for name in names if name not in further)


def new_config(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with one mapping of teachers; one without teachers, or converted before, stays as it is."""
    if config.get("kind") != "distill" or "teachers" in config:
        return config
    kept = {key: value for key, value in config.items() if key not in ("teacher", "methods", "further_teachers")}
    teachers = {first_name(config): {**config.get("teacher", {}), "methods": config["methods"]}}
    for name, further in (config.get("further_teachers") or {}).items():
        teachers[name] = {**further.get("teacher", {}), "methods": further["methods"]}
    return kept | {"teachers": teachers}


def new_result(result: dict[str, Any], first: str) -> dict[str, Any]:
    """The result with one mapping of teachers."""
    if "teachers" in result:
        return result
    kept = {key: value for key, value in result.items() if key not in ("teacher", "further_teachers")}
    teachers = {} if result.get("teacher") is None else {first: result["teacher"]}
    return kept | {"teachers": teachers | (result.get("further_teachers") or {})}


def new_pointer(pointer: str, first: str) -> str:
    """A pointer into a request, as one into the request in its long form."""
    for old, new in (
        (r"/teacher_id", f"/teacher_ids/{first}"),
        (r"/further_teacher_ids/([^/]+)", r"/teacher_ids/\1"),
        (r"/config/teacher((?:/.*)?)", rf"/config/teachers/{first}\1"),
        (r"/config/methods((?:/.*)?)", rf"/config/teachers/{first}/methods\1"),
        (r"/config/further_teachers/([^/]+)/teacher((?:/.*)?)", r"/config/teachers/\1\2"),
        (r"/config/further_teachers((?:/.*)?)", r"/config/teachers\1"),
    ):
        if match := re.fullmatch(old, pointer):
            return match.expand(new)
    return pointer


def new_event(kind: str, data: dict[str, Any], first: str) -> dict[str, Any]:
    """An event of the log."""
    if kind == "finished":
        return data | {"result": new_result(data["result"], first)}
    if kind in ("evaluated", "weights_loaded"):
        name = (data.get("teacher") or first) if data.get("role") == "teacher" else None
        return data | {"teacher": name}
    data = dict(data)
    if data.get("waiting_for"):
        data["waiting_for"] = [new_pointer(pointer, first) for pointer in data["waiting_for"]]
    if data.get("error"):
        data["error"] = data["error"] | {"pointer": new_pointer(data["error"].get("pointer", ""), first)}
    if data.get("pointer"):
        data["pointer"] = new_pointer(data["pointer"], first)
    return data


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "job_teachers",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("checkpoint_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_teachers_job_id_jobs", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["checkpoints.id"], name="fk_job_teachers_checkpoint_id_checkpoints"),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_job_teachers"),
    )
    op.add_column("evaluations", sa.Column("teacher", sa.String(), server_default="", nullable=False))
    op.drop_constraint("pk_evaluations", "evaluations", type_="primary")
    op.create_primary_key("pk_evaluations", "evaluations", ["job_id", "role", "teacher", "step"])
    connection = op.get_bind()
    columns = "id, config, teacher_id, further_teacher_ids, waiting_for, error, result"
    for job in connection.execute(sa.text(f"select {columns} from jobs")).mappings().all():
        _convert_job(connection, job)
    op.drop_column("jobs", "further_teacher_ids")
    op.drop_column("jobs", "teacher_id")


def _convert_job(connection: sa.Connection, job: Any) -> None:
    config, first = job["config"], first_name(job["config"])
    values = {
        "id": job["id"],
        "config": json.dumps(new_config(config)),
        "waiting_for": json.dumps([new_pointer(pointer, first) for pointer in job["waiting_for"]]),
        "error": _json(job["error"], lambda error: error | {"pointer": new_pointer(error.get("pointer", ""), first)}),
        "result": _json(job["result"], lambda result: new_result(result, first)),
    }
    connection.execute(
        sa.text(
            "update jobs set config = cast(:config as jsonb), waiting_for = cast(:waiting_for as jsonb), "
            "error = cast(:error as jsonb), result = cast(:result as jsonb) where id = :id"
        ),
        values,
    )
    ids = {} if job["teacher_id"] is None else {first: job["teacher_id"]}
    for name, identifier in (ids | job["further_teacher_ids"]).items():
        connection.execute(
            sa.text(
                "insert into job_teachers (job_id, name, checkpoint_id) "
                "select :job, :name, id from checkpoints where id = cast(:checkpoint as uuid)"
            ),
            {"job": job["id"], "name": name, "checkpoint": str(identifier)},
        )
    if config.get("further_teachers"):
        connection.execute(
            sa.text("update metrics set name = :prefix || name where job_id = :id and split_part(name, '.', 1) = any(:of)"),
            {"id": job["id"], "prefix": f"{first}.", "of": list(METHODS)},
        )
    connection.execute(
        sa.text("update evaluations set teacher = :first where job_id = :id and role = 'teacher'"),
        {"id": job["id"], "first": first},
    )
    _convert_events(connection, job["id"], first)


def _convert_events(connection: sa.Connection, job_id: Any, first: str) -> None:
    """The log of a job; evaluations of further teachers, which only the log had, become rows of the table."""
    events = connection.execute(
        sa.text("select id, kind, data from job_events where job_id = :id and kind not in ('step', 'stage')"),
        {"id": job_id},
    ).all()
    for identifier, kind, data in events:
        changed = new_event(kind, data, first)
        if changed != data:
            connection.execute(
                sa.text("update job_events set data = cast(:data as jsonb) where id = :id"),
                {"id": identifier, "data": json.dumps(changed)},
            )
        if kind == "evaluated" and data.get("teacher"):
            row = {"job_id": job_id, "role": "teacher", "teacher": data["teacher"], "step": data["step"]}
            row |= {"epoch": data["epoch"], **data["metrics"], "per_class": json.dumps(data["metrics"]["per_class"])}
            values = ", ".join("cast(:per_class as jsonb)" if name == "per_class" else f":{name}" for name in row)
            statement = f"insert into evaluations ({', '.join(row)}) values ({values}) on conflict do nothing"
            connection.execute(sa.text(statement), row)


def _json(value: Any, change: Any) -> str | None:
    return None if value is None else json.dumps(change(value))


def downgrade() -> None:
    """Take the tables back; configurations keep their one mapping of teachers, which older code does not read."""
    op.add_column("jobs", sa.Column("teacher_id", sa.Uuid(), nullable=True))
    op.create_foreign_key("fk_jobs_teacher_id_checkpoints", "jobs", "checkpoints", ["teacher_id"], ["id"])
    op.add_column(
        "jobs", sa.Column("further_teacher_ids", postgresql.JSONB(), server_default="{}", nullable=False)
    )
    op.execute(
        f"update jobs set teacher_id = checkpoint_id from job_teachers where job_id = jobs.id and job_teachers.name = '{FIRST}'"
    )
    op.drop_table("job_teachers")
    op.execute(f"delete from evaluations where teacher not in ('', '{FIRST}')")
    op.drop_constraint("pk_evaluations", "evaluations", type_="primary")
    op.drop_column("evaluations", "teacher")
    op.create_primary_key("pk_evaluations", "evaluations", ["job_id", "role", "step"])

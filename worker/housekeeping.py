"""Removes what nobody will ask for again: refused uploads, and what processes that were killed left behind."""

import logging
from contextlib import suppress

from sqlalchemy import Engine, delete, exists, func, select
from sqlalchemy.orm import Session

from api.checking import repository as checkers
from api.checking.models import ResourceState
from api.checking.states import RESOURCES, ResourceKind
from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.jobs.models import Job, JobTeacher
from api.settings import Settings
from api.storage import Storage
from worker.reporter import DATABASE_DOWN

_log = logging.getLogger(__name__)
_STALE_SECONDS = 24 * 3600.0


def clean_up(engine: Engine, settings: Settings) -> None:
    """Do all of it; what cannot be done for want of the database is done another time."""
    storage = Storage(settings.storage_dir)
    storage.remove_stale_staging(_STALE_SECONDS)
    with suppress(*DATABASE_DOWN):
        with Session(engine) as session, session.begin():
            checkers.forget(session, _STALE_SECONDS)
            forget_refused(session, settings.keep_refused_days)
        for kind in RESOURCES:
            remove_orphans(engine, storage, kind, _STALE_SECONDS)


def forget_refused(session: Session, days: float) -> None:
    """Delete the rows of refused datasets and checkpoints that are older than that and that no job names."""
    names = {
        Dataset: exists().where(Job.dataset_id == Dataset.id),
        Checkpoint: exists().where(Job.student_id == Checkpoint.id)
        | exists().where(JobTeacher.checkpoint_id == Checkpoint.id),
    }
    limit = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, days * 86400)
    for model, is_named in names.items():
        refused = (model.state == ResourceState.REFUSED, model.created_at < limit, ~is_named)
        session.execute(delete(model).where(*refused).execution_options(synchronize_session=False))


def remove_orphans(engine: Engine, storage: Storage, kind: ResourceKind, older_than_seconds: float) -> None:
    """Remove folders of which there is no row, or only a refused one."""
    model = RESOURCES[kind]
    for identifier in storage.older_than(kind, older_than_seconds):
        with Session(engine) as session:
            state = session.scalar(select(model.state).where(model.id == identifier))
        if state in (None, ResourceState.REFUSED):
            _log.info("%s %s: nothing refers to its files; they are removed", kind, identifier)
            storage.remove(kind, identifier)

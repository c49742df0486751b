"""The life of a job against the real database: every change is guarded, whatever the order of events."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from api.datasets.models import Dataset
from api.jobs import states
from api.jobs.models import Job
from api.jobs.states import Claim, JobState
from api.settings import Settings

LEASE = 60.0
ERROR = '{"code": "lost", "message": "lost"}'


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    engine = create_engine(Settings.with_driver(database_url))
    with Session(engine, expire_on_commit=False) as opened:
        yield opened
    engine.dispose()


def add_job(session: Session, **fields: Any) -> Job:
    dataset = Dataset(name="d", classes=[], splits={}, warnings=[], size=0)
    session.add(dataset)
    session.flush()
    job = Job(name="j", kind="train", config={}, dataset_id=dataset.id, **fields)
    session.add(job)
    session.commit()
    return job


def expire_lease(session: Session, job: Job) -> None:
    session.execute(
        text("update jobs set lease_until = clock_timestamp() - interval '1 second' where id = :id"), {"id": job.id}
    )


def test_a_job_is_claimed_once(session: Session):
    job = add_job(session)
    owned = states.claim(session, job.id, "a", LEASE)
    assert owned == Claim(job.id, fence=1, attempt=1)
    assert states.claim(session, job.id, "b", LEASE) is None


def test_an_owner_that_was_replaced_can_change_nothing(session: Session):
    job = add_job(session)
    old = states.claim(session, job.id, "a", LEASE)
    assert old is not None
    expire_lease(session, job)
    assert states.sweep(session, ERROR) == [(job.id, JobState.QUEUED)]
    new = states.claim(session, job.id, "b", LEASE)
    assert new is not None
    assert new.fence > old.fence
    assert states.renew(session, old, LEASE) is None
    assert states.update_progress(session, old, {"progress": 0.9}) is False
    assert states.finish(session, old, JobState.SUCCEEDED, error=None, result="{}") is False
    assert states.requeue(session, old, ERROR, count_attempt=True) is None
    assert states.renew(session, new, LEASE) is False


def test_a_job_is_given_up_after_its_last_attempt(session: Session):
    job = add_job(session, max_attempts=2)
    for wanted in (JobState.QUEUED, JobState.FAILED):
        owned = states.claim(session, job.id, "a", LEASE)
        assert owned is not None
        assert states.requeue(session, owned, ERROR, count_attempt=True) is wanted
    assert states.claim(session, job.id, "a", LEASE) is None


def test_only_attempts_without_progress_are_counted(session: Session):
    """Eight interruptions of a job that gets on, and three of one that does not."""
    job = add_job(session, max_attempts=3)
    for _ in range(8):
        owned = states.claim(session, job.id, "a", LEASE)
        assert owned is not None
        assert states.update_progress(session, owned, {"progressed": True})
        assert states.requeue(session, owned, ERROR, count_attempt=True) is JobState.QUEUED
    for wanted in (JobState.QUEUED, JobState.QUEUED, JobState.FAILED):
        owned = states.claim(session, job.id, "a", LEASE)
        assert owned is not None
        assert states.update_progress(session, owned, {"progress": 0.5})
        expire_lease(session, job)
        assert states.sweep(session, ERROR) == [(job.id, wanted)]
    session.refresh(job)
    assert (job.attempt, job.attempts_without_progress) == (11, 3)


def test_a_retry_gives_a_job_all_attempts_and_all_time_again(session: Session):
    job = add_job(session, max_attempts=1, max_runtime_seconds=100)
    first = states.claim(session, job.id, "a", LEASE)
    assert first is not None
    assert first.seconds_left == 100
    session.execute(text("update jobs set claimed_at = claimed_at - interval '30 s' where id = :id"), {"id": job.id})
    assert states.retry(session, job.id, from_start=False) is False, "it is running"
    assert states.requeue(session, first, ERROR, count_attempt=True) is JobState.FAILED
    session.refresh(job)
    assert job.ran_seconds == pytest.approx(30, abs=5)
    assert states.retry(session, job.id, from_start=False) is True
    assert states.retry(session, job.id, from_start=False) is False, "it is queued"
    second = states.claim(session, job.id, "b", LEASE)
    assert second is not None
    assert (second.attempt, second.seconds_left, second.begin_anew) == (2, 100, False)
    session.refresh(job)
    assert (job.error, job.finished_at, job.cancel_requested) == (None, None, False)
    assert states.finish(session, first, JobState.SUCCEEDED, error=None, result="{}") is False


def test_a_retry_from_the_start_is_remembered_until_the_work_folder_is_cleared(session: Session):
    job = add_job(session)
    assert states.request_cancel(session, job.id) is JobState.CANCELLED
    assert states.retry(session, job.id, from_start=True) is True
    for cleared in (False, True):
        owned = states.claim(session, job.id, "a", LEASE)
        assert owned is not None
        assert owned.begin_anew is True
        if cleared:
            assert states.began_anew(session, owned) is True
        states.requeue(session, owned, ERROR, count_attempt=False)
    owned = states.claim(session, job.id, "a", LEASE)
    assert owned is not None
    assert owned.begin_anew is False


def test_time_is_counted_over_all_attempts_but_not_beyond_a_lease(session: Session):
    job = add_job(session, max_runtime_seconds=1000)
    owned = states.claim(session, job.id, "a", LEASE)
    assert owned is not None
    session.execute(
        text("update jobs set claimed_at = claimed_at - interval '500 s', lease_until = lease_until - interval '200 s'")
    )
    assert states.sweep(session, ERROR) == [(job.id, JobState.QUEUED)]
    again = states.claim(session, job.id, "a", LEASE)
    assert again is not None
    assert again.seconds_left == pytest.approx(1000 - 500 + 200 - LEASE, abs=5)


def test_an_orderly_shutdown_costs_no_attempt(session: Session):
    job = add_job(session, max_attempts=1)
    for _ in range(5):
        owned = states.claim(session, job.id, "a", LEASE)
        assert owned is not None
        assert owned.attempt == 1
        assert states.requeue(session, owned, ERROR, count_attempt=False) is JobState.QUEUED


def test_a_job_asked_to_cancel_does_not_come_back(session: Session):
    job = add_job(session)
    owned = states.claim(session, job.id, "a", LEASE)
    assert owned is not None
    assert states.request_cancel(session, job.id) is JobState.RUNNING
    assert states.request_cancel(session, job.id) is None
    expire_lease(session, job)
    assert states.sweep(session, ERROR) == [(job.id, JobState.CANCELLED)]


def test_announcements_grow_rarer_and_begin_anew_after_a_run(session: Session):
    job = add_job(session)
    pauses = []
    for _ in range(6):
        session.execute(text("update jobs set next_dispatch_at = clock_timestamp() where state = 'queued'"))
        pauses += [pause for _, pause in states.take_due(session, 30)]
    assert pauses == [30, 60, 120, 240, 480, 600]
    assert states.take_due(session, 30) == []
    owned = states.claim(session, job.id, "a", LEASE)
    assert owned is not None
    states.requeue(session, owned, ERROR, count_attempt=True)
    assert states.take_due(session, 30) == [(job.id, 30)]


class JobLife(RuleBasedStateMachine):
    """Two workers, a scheduler and a user act on one job in any order."""

    session: Session

    def __init__(self):
        super().__init__()
        self.job_id = add_job(self.session, max_attempts=3).id
        self.claims: list[Claim] = []
        self.fence = 0
        self.ended: str | None = None

    def row(self) -> Any:
        query = text(
            "select state, fence, attempts_without_progress, lease_until is null as free from jobs where id = :id"
        )
        return self.session.execute(query, {"id": self.job_id}).one()

    @rule(worker=st.sampled_from("ab"))
    def claim(self, worker: str):
        before = self.row().state
        owned = states.claim(self.session, self.job_id, worker, LEASE)
        assert owned is None or before == "queued"
        if owned is not None:
            self.claims.append(owned)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), act=st.sampled_from(["renew", "progress", "checkpoint", "succeed", "fail", "crash", "drain"]))
    def worker_acts(self, data: st.DataObject, act: str):
        owned = data.draw(st.sampled_from(self.claims))
        before = self.row()
        is_owner = before.state == "running" and before.fence == owned.fence
        match act:
            case "renew":
                done = states.renew(self.session, owned, LEASE) is not None
            case "progress":
                done = states.update_progress(self.session, owned, {"progress": 0.5})
            case "checkpoint":
                done = states.update_progress(self.session, owned, {"progressed": True})
            case "succeed":
                done = states.finish(self.session, owned, JobState.SUCCEEDED, error=None, result="{}")
            case "fail":
                done = states.finish(self.session, owned, JobState.FAILED, error=ERROR, result=None)
            case _:
                done = states.requeue(self.session, owned, ERROR, count_attempt=act == "crash") is not None
        assert done is is_owner

    @rule()
    def lease_expires(self):
        self.session.execute(
            text(
                "update jobs set lease_until = clock_timestamp() - interval '1 s' where id = :id and state = 'running'"
            ),
            {"id": self.job_id},
        )
        states.sweep(self.session, ERROR)

    @rule()
    def user_cancels(self):
        states.request_cancel(self.session, self.job_id)

    @rule(from_start=st.booleans())
    def user_retries(self, from_start: bool):
        before = self.row().state
        done = states.retry(self.session, self.job_id, from_start=from_start)
        assert done is (before in ("failed", "cancelled"))
        if done:
            self.ended = None

    @invariant()
    def the_rules_hold(self):
        row = self.row()
        assert row.fence >= self.fence, "the fence never goes back"
        self.fence = row.fence
        assert row.free is (row.state != "running"), "a lease belongs to a running job"
        assert row.attempts_without_progress <= 3
        if self.ended is not None:
            assert row.state == self.ended, "an end is final"
        if JobState(row.state).final:
            self.ended = row.state


def test_the_rules_hold_in_any_order(session: Session):
    machine = type("BoundJobLife", (JobLife,), {"session": session})
    checks = list(HealthCheck)
    run_state_machine_as_test(machine, settings=settings(max_examples=40, deadline=None, suppress_health_check=checks))

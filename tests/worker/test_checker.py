"""Checkers on a real database, with real processes: every upload gets its state once, whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.checking import repository as checkers
from api.checking import states
from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.jobs import held
from api.jobs.models import Job, JobTeacher
from api.settings import Settings
from api.storage import Storage
from tests.support.checking import checker
from worker.checker.client import CheckServer
from worker.housekeeping import clean_up, forget_refused, remove_orphans

pytestmark = pytest.mark.fault
PROBES = "tests.support.probes"


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "DATABASE_URL": database_url,
            "storage_dir": tmp_path / "storage",
            "lease_seconds": 2,
            "renew_seconds": 0.3,
            "check_silence_seconds": 20,
            "check_memory_bytes": 256 * 1024**2,
        }
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    opened = create_engine(settings.database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def server() -> Iterator[CheckServer]:
    running = CheckServer(PROBES)
    running.start()
    yield running
    running.close()


@pytest.fixture
def add(engine: Engine, settings: Settings) -> Callable[..., UUID]:
    """A dataset that waits for a check, with files in the storage."""

    def add(probe: str, path: str | None = None, **options: Any) -> UUID:
        row = Dataset(name=probe, classes=[], splits={}, warnings=[], size=1, state="checking", path=path)
        row.options = {"probe": probe} | options
        with Session(engine, expire_on_commit=False) as session, session.begin():
            session.add(row)
            states.announce(session)
        folder = Storage(settings.storage_dir).folder("datasets", row.id)
        folder.mkdir(parents=True)
        (folder / "train.json").touch()
        return row.id

    return add


@pytest.fixture
def settled(engine: Engine) -> Callable[..., Dataset]:
    def settled(identifier: UUID, seconds: float = 30) -> Dataset:
        deadline = time.monotonic() + seconds
        while True:
            with Session(engine, expire_on_commit=False) as session:
                row = session.get_one(Dataset, identifier)
            if row.state != "checking":
                return row
            assert time.monotonic() < deadline, (row.check_attempts, row.check_lease_until)
            time.sleep(0.05)

    return settled


def until(true: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def pids(file: Path) -> list[int]:
    """Of the checks that wait for this file."""
    return [int(path.suffix[1:]) for path in file.parent.glob(f"{file.name}.*")]


def test_what_a_check_finds_is_written_to_the_row(settings, server, add, settled):
    with checker(settings, server):
        row = settled(add("passes"))
    assert (row.state, row.error, row.classes, row.check_attempts) == ("ready", None, ["a"], 1)
    assert row.splits == {"train": {"images": 1, "boxes": 1}}


def test_the_files_of_a_refused_upload_are_removed_but_not_those_of_the_operator(
    settings, server, add, settled, tmp_path: Path
):
    own = tmp_path / "own"
    own.mkdir()
    with checker(settings, server):
        row, by_path = settled(add("refuses", message="no")), settled(add("refuses", path=str(own), message="no"))
    assert row.error == {"code": "dataset_invalid", "message": "no", "hint": "Mend it.", "pointer": "/files"}
    assert not Storage(settings.storage_dir).folder("datasets", row.id).exists()
    assert by_path.error is not None
    assert by_path.error["pointer"] == "/path"
    assert own.exists()


@pytest.mark.parametrize("code_point", [0, 0xD800], ids=["NUL", "half a character"])
def test_names_that_the_database_cannot_keep_are_refused(settings, server, add, settled, code_point: int):
    with checker(settings, server):
        row = settled(add("finds_a_name", code_point=code_point))
    assert row.state == "refused"
    assert row.error["code"] == "dataset_invalid"


def test_a_check_that_kills_its_process_is_refused_after_some_tries(settings, server, add, settled):
    with checker(settings, server):
        row = settled(add("dies", by=signal.SIGSEGV.value))
    assert (row.state, row.check_attempts) == ("refused", 3)
    assert row.error["code"] == "check_crashed"
    assert row.error["message"] == (
        "The check of these files was tried 3 times; the last time its process was killed by SIGSEGV."
    )


def test_a_check_without_an_end_or_bound_is_refused_at_once(settings, server, add, settled):
    settings.check_silence_seconds = 1
    with checker(settings, server):
        rows = [settled(add("hangs")), settled(add("allocates", mib=1000))]
    assert [row.error["code"] for row in rows] == ["check_timed_out", "check_out_of_memory"]
    assert [row.check_attempts for row in rows] == [1, 1]


def test_a_check_that_is_killed_is_made_again(settings, server, add, settled, tmp_path: Path):
    file = tmp_path / "go"
    with checker(settings, server):
        identifier = add("waits_for", file=str(file))
        [first] = until(lambda: pids(file))
        os.kill(first, signal.SIGKILL)
        until(lambda: len(pids(file)) == 2)
        file.touch()
        row = settled(identifier)
    assert (row.state, row.check_attempts) == ("ready", 2)


def test_a_fork_server_that_is_killed_is_started_again(settings, server, add, settled, tmp_path: Path):
    file = tmp_path / "go"
    with checker(settings, server):
        identifier = add("waits_for", file=str(file))
        until(lambda: pids(file))
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: len(pids(file)) == 2)
        file.touch()
        row = settled(identifier)
    assert (row.state, row.check_attempts) == ("ready", 2)


def test_a_checker_that_is_killed_is_replaced_and_takes_its_check_with_it(
    settings, engine, server, add, settled, tmp_path: Path
):
    file = tmp_path / "go"
    identifier = add("waits_for", file=str(file))
    environment = {
        "DATABASE_URL": engine.url.render_as_string(hide_password=False),
        "DETRDISTILL_STORAGE_DIR": str(settings.storage_dir),
        "DETRDISTILL_LEASE_SECONDS": "2",
    }
    killed = subprocess.Popen([sys.executable, "-m", "tests.support.probe_checker"], env=os.environ | environment)
    [check] = until(lambda: pids(file), seconds=60)
    killed.kill()
    killed.wait()
    until(lambda: not Path(f"/proc/{check}").exists())
    with Session(engine) as session:
        assert session.get_one(Dataset, identifier).state == "checking"
    with checker(settings, server):
        until(lambda: len(pids(file)) == 2)
        file.touch()
        row = settled(identifier)
    assert (row.state, row.check_attempts) == ("ready", 2)


def test_a_checker_that_is_lost_loses_its_check_and_cannot_disturb_the_next(settings, engine, server, add, settled):
    identifier = add("passes")
    with Session(engine) as session, session.begin():
        lost = states.claim(session, "datasets", settings.lease_seconds)
        assert lost is not None
        assert states.claim(session, "datasets", settings.lease_seconds) is None
    with checker(settings, server):
        row = settled(identifier)
    assert (row.state, row.check_attempts) == ("ready", 2)
    with Session(engine) as session, session.begin():
        assert not states.renew(session, lost, 60)
        assert not states.refuse(session, lost, {"code": "x", "message": "late"})
        assert not states.give_back(session, lost, count_attempt=True)
    assert settled(identifier).state == "ready"


def test_checkers_that_die_with_a_check_do_not_go_on_for_ever(settings, engine, server, add, settled):
    identifier = add("passes")
    for _ in range(settings.check_attempts):
        with Session(engine) as session, session.begin():
            assert states.claim(session, "datasets", -1) is not None  # and is never heard of again
    with checker(settings, server):
        row = settled(identifier)
    assert row.error["code"] == "check_crashed"
    assert "tried 3 times; the last time its process ended with its checker" in row.error["message"]


def test_a_checker_shut_down_leaves_its_check_to_others_uncounted(settings, engine, server, add, settled, tmp_path):
    file = tmp_path / "go"
    with checker(settings, server):
        identifier = add("waits_for", file=str(file))
        until(lambda: pids(file))
    with Session(engine) as session:
        row = session.get_one(Dataset, identifier)
        assert (row.state, row.check_attempts, row.check_lease_until) == ("checking", 0, None)
        assert checkers.alive(session, 60) == (0, [])
    file.touch()
    with checker(settings, server):
        assert settled(identifier).check_attempts == 1


def test_two_checkers_never_take_one_row_twice(settings, server, add, settled, tmp_path: Path):
    identifiers = [add("waits_for", file=str(tmp_path / f"go{number}")) for number in range(12)]
    for number in range(12):
        (tmp_path / f"go{number}").touch()
    settings.checks_at_once = 3
    other = CheckServer(PROBES)
    other.start()
    with checker(settings, server), checker(settings, other):
        rows = [settled(identifier) for identifier in identifiers]
    other.close()
    assert {(row.state, row.check_attempts, row.check_fence) for row in rows} == {("ready", 1, 1)}
    assert [len(pids(tmp_path / f"go{number}")) for number in range(12)] == [1] * 12


def test_a_long_check_of_a_data_set_leaves_room_for_checkpoints(settings, engine, server, add, tmp_path: Path):
    add("waits_for", file=str(tmp_path / "never")), add("waits_for", file=str(tmp_path / "never"))
    with checker(settings, server):
        until(lambda: pids(tmp_path / "never"))
        with Session(engine) as session, session.begin():
            session.add(Checkpoint(name="c", classes=[], size=1, state="checking"))

        def is_settled() -> bool:
            with Session(engine) as session:
                return session.query(Checkpoint).one().state != "checking"

        until(is_settled)
        assert len(pids(tmp_path / "never")) == 1, "one of two places is kept"


def test_a_check_outlasts_the_loss_of_the_database(settings, engine, server, add, settled, tmp_path: Path):
    file = tmp_path / "go"
    settings.lease_seconds = 60
    with checker(settings, server):
        identifier = add("waits_for", file=str(file))
        until(lambda: pids(file))
        name = engine.url.database
        admin = create_engine(engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"alter database {name} allow_connections false"))
            others = "select pg_terminate_backend(pid) from pg_stat_activity where datname = :name"
            connection.execute(text(others), {"name": name})
            file.touch()
            time.sleep(1.5)
            connection.execute(text(f"alter database {name} allow_connections true"))
        admin.dispose()
        engine.dispose()
        row = settled(identifier)
    assert (row.state, row.check_attempts) == ("ready", 1)


def test_the_checker_hides_its_environment(settings, database_url: str, tmp_path: Path):
    environment = os.environ | {"DATABASE_URL": database_url, "DETRDISTILL_STORAGE_DIR": str(tmp_path)}
    code = (
        "import os, subprocess, sys\n"
        "from worker.checker.isolation import hide_memory, isolate\n"
        "hide_memory()\n"
        "pid = os.getpid()\n"
        "if os.fork() == 0:\n"
        "    assert isolate() == []\n"
        "    try: open(f'/proc/{pid}/environ', 'rb').read(); os._exit(3)\n"
        "    except PermissionError: os._exit(0)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


# ---- housekeeping


def test_refused_rows_go_after_some_days_unless_a_job_names_them(settings, engine: Engine):
    with Session(engine, expire_on_commit=False) as session, session.begin():
        refused = {"state": "refused", "error": {"code": "x", "message": "y", "hint": "", "pointer": ""}}
        datasets = [Dataset(name="d", classes=[], splits={}, warnings=[], size=0, **refused) for _ in range(3)]
        points = [Checkpoint(name="c", classes=[], size=0, **refused) for _ in range(4)]
        ready = Dataset(name="r", classes=[], splits={}, warnings=[], size=0)
        session.add_all([*datasets, *points, ready])
        session.flush()
        first, more = (JobTeacher(name="big", checkpoint_id=points[index].id) for index in (0, 2))
        session.add(Job(name="j", kind="train", config={}, dataset_id=datasets[0].id, teachers={"big": first}))
        session.add(
            Job(
                name="j",
                kind="train",
                config={},
                dataset_id=ready.id,
                student_id=points[1].id,
                teachers={"big": more},
            )
        )
        session.execute(text("update datasets set created_at = now() - interval '8 days' where name <> 'x'"))
        session.execute(text("update checkpoints set created_at = now() - interval '8 days'"))
        datasets[2].name = "young"
        session.flush()
        session.execute(text("update datasets set created_at = now() - interval '6 days' where name = 'young'"))
    with Session(engine) as session, session.begin():
        forget_refused(session, settings.keep_refused_days)
    with Session(engine) as session:
        assert {row.id for row in session.query(Dataset)} == {datasets[0].id, datasets[2].id, ready.id}
        assert {row.id for row in session.query(Checkpoint)} == {point.id for point in points[:3]}


def test_all_of_it_is_done_with_the_settings_as_they_come(settings, engine: Engine):
    clean_up(engine, settings)


def test_folders_without_a_row_are_removed(settings, engine: Engine, add):
    storage = Storage(settings.storage_dir)
    kept = add("passes")
    orphan = storage.folder("datasets", UUID(int=7))
    orphan.mkdir()
    (orphan.parent / "notes").mkdir()
    remove_orphans(engine, storage, "datasets", 3600)
    assert orphan.exists(), "an upload may be about to store its row"
    time.sleep(0.05)
    remove_orphans(engine, storage, "datasets", 0.01)
    assert not orphan.exists()
    assert storage.folder("datasets", kept).exists()
    assert (orphan.parent / "notes").exists(), "what is not ours stays"


# ---- jobs that wait


CONFIG = {"kind": "train", "student": {"family": "rt-detr-v2", "size": "pico"}, "data": {"image_size": 128}}


def held_job(engine: Engine, dataset_id: UUID, **fields: Any) -> UUID:
    with Session(engine, expire_on_commit=False) as session, session.begin():
        values = {"config": CONFIG, "waiting_for": ["/dataset_id"]} | fields
        job = Job(name="j", kind="train", dataset_id=dataset_id, **values)
        session.add(job)
    return job.id


def test_one_job_that_cannot_be_read_holds_up_no_other(settings, engine: Engine):
    with Session(engine, expire_on_commit=False) as session, session.begin():
        ready = Dataset(name="r", classes=["a"], splits={}, warnings=[], size=0)
        session.add(ready)
    broken, sound = held_job(engine, ready.id, config={"kind": "?"}), held_job(engine, ready.id)
    with pytest.raises(IntegrityError):
        held_job(engine, ready.id, teachers={"more": JobTeacher(name="more", checkpoint_id=UUID(int=1))})
    held.settle_all(engine)
    with Session(engine) as session:
        assert session.get_one(Job, broken).error["code"] == "internal"
        job = session.get_one(Job, sound)
        assert (job.state, job.waiting_for) == ("queued", [])
        assert job.next_dispatch_at is not None
        events = session.execute(text("select data from job_events where job_id = :id"), {"id": sound}).scalars().all()
    assert json.loads(json.dumps(events)) == [{"state": "queued", "waiting_for": []}]

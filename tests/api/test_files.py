"""Files of a job that is running: what is downloaded is one whole thing, whatever the training does meanwhile."""

import io
import os
import threading
import zipfile
from pathlib import Path

import pytest

from api.jobs import files
from api.jobs.files import OpenedFolder, job_files
from api.jobs.zips import Member, frame
from detrdistill.engine.state import replace_folder


def export(work: Path, generation: int) -> None:
    """Replace the student by one whose files all say the same number."""

    def write(folder: Path) -> None:
        for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
            (folder / name).write_bytes(b"%06d" % generation * 1000)

    replace_folder(work / "student", write)


def generations(archive: bytes) -> set[bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        assert len(opened.namelist()) == 3
        return {opened.read(name)[:6] for name in opened.namelist()}


def content(work: Path, name: str) -> bytes:
    with OpenedFolder(work) as folder:
        return b"".join(folder.files[name].read(0, folder.files[name].size))


def test_a_zip_is_whole_and_the_same_each_time(tmp_path: Path):
    export(tmp_path, 1)
    archive = content(tmp_path, "student.zip")
    assert generations(archive) == {b"000001"}
    assert archive == content(tmp_path, "student.zip")
    with OpenedFolder(tmp_path) as folder:
        file = folder.files["student.zip"]
        assert file.size == len(archive)
        for start, end in ((0, 5), (17, 4000), (5990, 6100), (len(archive) - 30, len(archive))):
            assert b"".join(file.read(start, end)) == archive[start:end]


def test_a_zip_of_more_than_four_gigabytes_says_so_in_64_bits(tmp_path: Path):
    members = [Member("student/a", 5 * 1024**3, 1), Member("student/b", 3, 0x352441C2)]
    before, between, after = frame(members)
    path = tmp_path / "large.zip"
    with path.open("wb") as sparse:
        sparse.write(before)
        sparse.seek(5 * 1024**3, os.SEEK_CUR)
        sparse.write(between + b"abc" + after)
    with zipfile.ZipFile(path) as opened:
        assert [(info.filename, info.file_size) for info in opened.infolist()] == [
            ("student/a", 5 * 1024**3),
            ("student/b", 3),
        ]
        assert opened.read("student/b") == b"abc"


def test_downloads_are_consistent_while_folders_are_replaced(tmp_path: Path):
    export(tmp_path, 0)
    done = threading.Event()

    def train() -> None:
        generation = 0
        while not done.is_set():
            generation += 1
            export(tmp_path, generation)

    training = threading.Thread(target=train)
    training.start()
    try:
        seen: set[bytes] = set()
        for _ in range(150):
            with OpenedFolder(tmp_path) as folder:
                assert set(folder.files) >= {"student.zip", "student/config.json"}
                file = folder.files["student.zip"]
                found = generations(b"".join(file.read(0, file.size)))
                assert len(found) == 1, "files of two exports in one zip"
                seen |= found
        assert len(seen) > 1
    finally:
        done.set()
        training.join()


def test_a_file_that_is_replaced_while_it_is_downloaded_stays_what_it_was(tmp_path: Path):
    export(tmp_path, 1)
    with OpenedFolder(tmp_path) as folder:
        file = folder.files["student/model.safetensors"]
        reading = file.read(0, file.size)
        export(tmp_path, 2)
        assert b"".join(reading) == b"000001" * 1000


def test_an_export_that_was_killed_between_its_renames_is_still_there(tmp_path: Path):
    export(tmp_path, 1)
    (tmp_path / "student").rename(tmp_path / "student.old")
    assert generations(content(tmp_path, "student.zip")) == {b"000001"}


def test_a_file_is_read_once_for_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export(tmp_path, 1)
    (tmp_path / "log.txt").write_text("line\n")
    first = job_files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(files, "_digest_of", lambda _: pytest.fail("read again"))
        assert job_files(tmp_path) == first
        files._digests.clear()  # as in another process
        recorded = {(file.name, file.size, file.modified_ns): file.sha256 for file in first}
        assert job_files(tmp_path, recorded) == first
    (tmp_path / "log.txt").write_text("other\n")
    assert {file.name: file.sha256 for file in job_files(tmp_path)}["log.txt"] != first[0].sha256
    assert [file.name for file in first] == [
        "log.txt",
        "student.zip",
        "student/config.json",
        "student/model.safetensors",
        "student/preprocessor_config.json",
    ]


def test_a_job_without_a_folder_has_no_files(tmp_path: Path):
    assert job_files(tmp_path / "nothing") == []

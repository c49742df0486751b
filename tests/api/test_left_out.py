"""Files that nothing needs do not refuse an upload, and names come in the ways packers write them."""

import io
import stat
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.api.test_library import members_of
from tests.support.problems import assert_problem
from tests.support.uploads import zip_with

UNNEEDED = (
    *("LICENSE", "README.md", "README.roboflow.txt", "convert.py", "notebook.ipynb", ".gitattributes", ".DS_Store"),
    *("Thumbs.db", "desktop.ini", ".cache/a/b/c/d/e/f/g/h/i/j.json", ".git/config", "__pycache__/x.pyc", "data.yaml"),
    *("runs/train/events.out.tfevents.1", "__MACOSX/images/._a.png", "images/.hidden.png", "old.zip", "a.heic"),
    *("images/._train_1.png", "labels.cache", "dir with\u202fspace/notes.txt", "12:30:05.log"),
)


def post(client: TestClient, content: bytes, kind: str = "datasets"):
    return client.post(f"/{kind}", data={"name": "d"}, files={"files": ("d.zip", content)})


def test_unneeded_files_are_left_out_and_counted(client: TestClient, rectangles: Path, storage_dir: Path):
    content = zip_with(dict.fromkeys(UNNEEDED, b"anything") | members_of(rectangles))
    answer = post(client, content)
    assert answer.status_code == 201, answer.text
    assert answer.json()["warnings"] == [
        f"Files that are not needed were left out: {len(UNNEEDED)} "
        f"(LICENSE, README.md, README.roboflow.txt, convert.py, notebook.ipynb and {len(UNNEEDED) - 5} more)."
    ]
    kept = {path.suffix for path in (storage_dir / "datasets" / answer.json()["id"]).rglob("*") if path.is_file()}
    assert kept == {".json", ".png"}


def test_a_refusal_says_what_was_left_out(client: TestClient, rectangles: Path):
    members = {name.replace(".png", ".heic"): content for name, content in members_of(rectangles).items()}
    detail = assert_problem(post(client, zip_with(members)), 422, "/files")["detail"]
    assert "12 of images name a file that is not there, first at /images/0 ('train_1.png')" in detail
    assert "left out: 18 (images/" in detail


def test_unneeded_files_of_a_checkpoint_are_left_out(client: TestClient, teacher_folder: Path):
    members = members_of(teacher_folder) | dict.fromkeys(UNNEEDED, b"anything")
    assert post(client, zip_with(members), "checkpoints").status_code == 201
    files = [("files", (name, content)) for name, content in members_of(teacher_folder).items()]
    files += [("files", (name, b"x")) for name in (".gitattributes", "trainer.py", "Thumbs.db")]
    assert client.post("/checkpoints", data={"name": "c"}, files=files).status_code == 201


def test_an_archive_without_anything_of_use_says_what_it_holds(client: TestClient):
    problem = assert_problem(post(client, zip_with({"train.py": b"", "data.rar": b""})), 422, "/files")
    assert problem["code"] == "archive_invalid"
    assert "no file of use; it holds train.py, data.rar" in problem["detail"]
    answer = client.post("/datasets", data={"name": "d"}, files={"files": ("data.rar", b"Rar!")})
    assert "None of these files is of use: data.rar." in assert_problem(answer, 422, "/files")["detail"]


def link(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
        archive.writestr("train.json", "{}")
    return buffer.getvalue()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "content",
    [
        link("LICENSE"),
        link(".cache/x"),
        zip_with({"../LICENSE": b"", "train.json": b"{}"}),
        zip_with({"/etc/notes.txt": b"", "train.json": b"{}"}),
        zip_with({"..\\..\\LICENSE": b"", "train.json": b"{}"}),
        zip_with({"C:\\LICENSE": b"", "train.json": b"{}"}),
        zip_with({"a\nb.txt": b"", "train.json": b"{}"}),
    ],
    ids=["link", "hidden link", "climbs", "absolute", "climbs with backslashes", "drive", "line feed"],
)
def test_dangerous_members_are_refused_needed_or_not(client: TestClient, content: bytes):
    assert assert_problem(post(client, content), 422, "/files")["code"] == "archive_invalid"


def test_members_may_be_named_with_backslashes(client: TestClient, rectangles: Path):
    members = {name.replace("/", "\\"): content for name, content in members_of(rectangles).items()}
    answer = post(client, zip_with(members | {"images\\": b""}))
    assert answer.status_code == 201, answer.text
    assert answer.json()["splits"]["train"]["images"] == 12


class Unmarked(zipfile.ZipInfo):
    """A member whose name is UTF-8 without the flag that says so, as the archiver of macOS writes it."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return self.filename.encode(), self.flag_bits & ~0x800


def test_names_in_utf8_that_does_not_say_so_are_read(client: TestClient, rectangles: Path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members_of(rectangles).items():
            composed = content.replace(b'"train_', '"\u00fctrain_'.encode()) if name == "train.json" else content
            archive.writestr(Unmarked(name.replace("images/train", "images/u\u0308train")), composed)
    answer = post(client, buffer.getvalue())
    assert answer.status_code == 201, answer.text
    assert answer.json()["warnings"] == []


class InGbk(Unmarked):
    """A member named in the code page of a Chinese system."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return self.filename.encode("gbk"), self.flag_bits & ~0x800


@pytest.mark.parametrize("word", ["\u56fe\u7247", "\u68c0\u6d4b"])
def test_names_in_the_code_page_of_a_system_are_found(client: TestClient, rectangles: Path, word: str):
    """The bytes of the first are UTF-8 by chance."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members_of(rectangles).items():
            named = content.replace(b'_name": "', f'_name": "{word}'.encode()) if name.endswith(".json") else content
            archive.writestr(InGbk(name.replace("images/", f"images/{word}")), named)
    answer = post(client, buffer.getvalue())
    assert answer.status_code == 201, answer.text
    assert answer.json()["splits"]["train"]["images"] == 12
    assert (
        f"12 images were found by a part of their file_name only: '{word}train_1.png'" in answer.json()["warnings"][0]
    )


@pytest.mark.bad_input
def test_names_that_differ_only_in_case_are_both_named(client: TestClient, rectangles: Path):
    members = members_of(rectangles)
    twins = zip_with(members | {"images/TRAIN_1.png": members["images/train_1.png"]})
    detail = assert_problem(post(client, twins), 422, "/files")["detail"]
    assert detail == "'images/train_1.png' and 'images/TRAIN_1.png' differ only in case."

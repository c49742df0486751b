"""The file that events are in before anybody hears of them."""

from pathlib import Path

import pytest

from detrdistill.events import StageChanged
from tests.support.events import step
from tests.worker.test_failures import small_disk  # noqa: F401  a fixture
from worker import journal
from worker.journal import Journal, begin, read_last

pytestmark = pytest.mark.fault


def write(path: Path, after: int, *steps: int) -> Journal:
    opened = Journal(path, after)
    for number in steps:
        opened.write(opened.number(step(number)))
    return opened


def steps(work: Path, fence: int, after: int = 0) -> list[tuple[int, int]]:
    return [(entry.sequence, entry.event.step) for entry in read_last(work, fence, after)]  # pyright: ignore


def test_what_was_written_is_read_from_where_the_database_ends(tmp_path: Path):
    write(begin(tmp_path, 1), 0, 10, 20, 30)
    assert steps(tmp_path, 1) == [(1, 10), (2, 20), (3, 30)]
    assert steps(tmp_path, 5, after=2) == [(3, 30)]
    assert read_last(tmp_path / "nothing", 1, 0) == []


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_line_that_was_cut_off_ends_the_journal(tmp_path: Path, cut: int):
    path = begin(tmp_path, 1)
    write(path, 0, 10, 20)
    path.write_bytes(path.read_bytes()[:-cut])
    assert steps(tmp_path, 1) == [(1, 10)]


def test_what_a_replaced_process_still_writes_is_read_by_nobody(tmp_path: Path):
    zombie = write(begin(tmp_path, 1), 0, 10)
    write(begin(tmp_path, 3), 1, 11)
    zombie.write(zombie.number(step(99)))
    assert steps(tmp_path, 3) == [(2, 11)]
    assert len(list((tmp_path / "journal").iterdir())) == 1, "the journal before was removed"


def test_it_does_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "_LARGEST_BYTES", 2000)
    write(begin(tmp_path, 1), 0, *range(1, 101))
    assert sum(path.stat().st_size for path in (tmp_path / "journal").iterdir()) <= 4000
    found = steps(tmp_path, 1)
    assert found[-1] == (100, 100)
    assert [sequence for sequence, _ in found] == list(range(101 - len(found), 101))


def test_a_full_disk_leaves_no_half_line(small_disk: Path):  # noqa: F811
    path = begin(small_disk, 1)
    opened = write(path, 0, 10)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(bytes(2 * 1024**2))
    with pytest.raises(OSError, match="No space left"):
        _write_until_full(opened)
    (small_disk / "ballast").unlink()
    entry = opened.number(StageChanged(stage="export"))
    opened.write(entry)
    assert read_last(small_disk, 1, 0)[-1] == entry


def _write_until_full(opened: Journal) -> None:
    for number in range(1000):
        opened.write(opened.number(step(number)))

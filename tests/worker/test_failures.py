"""Which reason a user is given for an exception."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from detrdistill.engine.state import replace_folder, save_state
from detrdistill.errors import DatasetError, Diverged
from worker.failures import failure_of, may_succeed_again
from worker.redaction import Redactor

pytestmark = pytest.mark.fault


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "storage_full"),
        (errno.EDQUOT, "storage_full"),
        (errno.EFBIG, "storage_full"),
        (errno.EROFS, "storage_read_only"),
        (errno.EACCES, "storage_denied"),
        (errno.EIO, "storage_broken"),
        (errno.EMFILE, "too_many_files"),
        (errno.ENFILE, "too_many_files"),
        (errno.ENOMEM, "out_of_memory"),
    ],
)
def test_an_error_of_the_system_has_a_code_and_a_remedy(number: int, code: str):
    failure = failure_of(OSError(number, os.strerror(number), "/srv/store/jobs/1/state/x.pt"))
    assert failure.code == code
    assert os.strerror(number) in failure.message
    assert failure.hint


def test_a_loader_process_passes_on_no_more_than_the_text():
    text = "Caught OSError in DataLoader worker process 0.\nOSError: [Errno 5] Input/output error: '/data/a.png'"
    assert failure_of(OSError(text)).code == "storage_broken"


def test_a_refusal_that_comes_from_a_broken_disk_is_the_disk_s():
    refusal = DatasetError("train.json is not valid JSON")
    refusal.__cause__ = OSError(errno.EIO, "Input/output error")
    assert failure_of(refusal).code == "storage_broken"


def test_what_was_handled_before_is_no_reason():
    diverged = Diverged("The gradient is not finite.")
    diverged.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert failure_of(diverged).code == "diverged"


def test_what_nothing_is_known_of_is_told_with_its_type():
    failure = failure_of(KeyError("queries"))
    assert (failure.code, failure.message) == ("internal", "Unexpected KeyError: 'queries'")


def test_a_killed_loader_process_is_an_interruption():
    assert may_succeed_again(RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "))
    assert may_succeed_again(RuntimeError("DataLoader worker (pid(s) 12) exited unexpectedly"))
    assert not may_succeed_again(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_torch_on_a_full_disk(small_disk: Path):
    state = {"weights": torch.randn(1000, 1000)}
    with pytest.raises(RuntimeError) as caught:
        save_state(small_disk / "state", 40, state)
    assert failure_of(caught.value).code == "storage_full"
    assert list((small_disk / "state").iterdir()) == [], "what could not be written takes no space"
    with pytest.raises(RuntimeError) as caught:
        torch.save(state, small_disk / "other.pt")
    assert failure_of(caught.value).code == "storage_full"


def test_safetensors_on_a_full_disk_and_the_export_before_it_stays(small_disk: Path):
    export = small_disk / "student"
    replace_folder(export, lambda folder: save_file({"w": torch.zeros(10)}, folder / "model.safetensors"))
    large = {"w": torch.zeros(1000, 1000)}
    with pytest.raises(Exception, match="No space left") as caught:
        replace_folder(export, lambda folder: save_file(large, folder / "model.safetensors"))
    assert failure_of(caught.value).code == "storage_full"
    assert [path.name for path in small_disk.iterdir()] == ["student"]
    assert (export / "model.safetensors").stat().st_size < 1000


def test_paths_and_what_a_database_cannot_hold_are_taken_out():
    redact = Redactor({Path("/srv/store"): "<storage>", Path("/srv/store/jobs/7"): "<job>"})
    assert redact("open '/srv/store/jobs/7/state/x.pt'") == "open '<job>/state/x.pt'"
    assert redact("/srv/store/datasets") == "<storage>/datasets"
    assert redact("a\0b\udc80") == "a\ufffdb?"

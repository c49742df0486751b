"""What a training process is told of its surroundings."""

import os

import pytest

from worker.training_process import _environment


def test_threads_of_a_training_never_spin_and_what_the_operator_says_is_passed_on(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.startswith(("OMP_", "GOMP_", "KMP_"))]:
        monkeypatch.delenv(name)
    assert _environment()["OMP_WAIT_POLICY"] == "passive"
    assert "OMP_NUM_THREADS" not in _environment()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    environment = _environment()
    assert (environment["OMP_NUM_THREADS"], environment["GOMP_SPINCOUNT"]) == ("3", "1000")
    assert "OMP_WAIT_POLICY" not in environment


def test_a_training_process_gets_no_credentials(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/name")
    assert "secret" not in str(_environment())

"""The migrations lead to the models' tables, and back."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_migrations_match_the_models_and_can_be_taken_back(database_url: str):
    for command in (["check"], ["downgrade", "0001"], ["upgrade", "head"], ["check"], ["downgrade", "base"]):
        alembic = [sys.executable, "-m", "alembic", "-c", str(ROOT / "alembic.ini"), *command]
        environment = os.environ | {"DATABASE_URL": database_url}
        done = subprocess.run(alembic, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

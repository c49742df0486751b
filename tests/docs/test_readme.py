"""The README's lines, run as they stand against a service."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from detrdistill.schema.run import RUN_CONFIG
from tests.support.client import Client
from tests.support.servers import ROOT, RunningService

pytestmark = pytest.mark.docs
README = (ROOT / "README.md").read_text()


def quickstart() -> str:
    found = re.search(r"<!-- quickstart[^\n]*-->\n```sh\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_quickstart_ends_with_the_ap_that_was_reported(service: RunningService, client: Client, tmp_path: Path):
    service.start_worker()
    service.wait_for_workers()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / ".run").mkdir()
    script = quickstart().replace("API=http://127.0.0.1:8000", f"API={service.url}")
    assert service.url in script
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [job] = client.get("/jobs")["data"]
    assert job["state"] == "succeeded"
    result = client.get(f"/jobs/{job['id']}")["result"]
    assert "event: step" in done.stdout
    measured = float(re.findall(r"^AP ([0-9.]+)", done.stdout, re.MULTILINE)[-1])
    assert measured == pytest.approx(result["student"]["metrics"]["ap"], abs=1e-3)
    assert result["kd_gain"] > 0


def test_the_tree_names_folders_that_exist():
    block = README.split("## What is where")[1].split("```")[1]
    top = ""
    for line in block.strip().splitlines():
        name = line.split()[0]
        top = "" if not line.startswith(" ") else top
        assert (ROOT / top / name).is_dir(), name
        top = top or name


def test_every_make_command_in_the_documentation_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
        named = set(re.findall(r"(?:`|^)(?:[A-Z_]+=\S+ )?make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE))
        assert named <= targets, page


def test_the_example_configurations_are_valid():
    from detrdistill.__main__ import RunFile
    from detrdistill.schema.run import RUN_CONFIG

    RUN_CONFIG.validate_python(json.loads((ROOT / "examples/digits/distill.json").read_text()))
    RunFile.model_validate_json((ROOT / "examples/digits/teacher.json").read_bytes())


@pytest.mark.parametrize("page", ["inputs.md", "teachers.md"])
def test_configurations_in_the_documentation_are_valid(page: str):
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    configurations = [document for block in blocks if "kind" in (document := json.loads(block))]
    assert configurations
    for document in configurations:
        RUN_CONFIG.validate_python(document)

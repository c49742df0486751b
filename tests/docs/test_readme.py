"""The quickstart, run as it stands against a service, and what the README says of the repository."""

import json
import re
from pathlib import Path

import pytest

from tests.docs.blocks import SHELLS, all_blocks
from tests.docs.shell import prepare, run_commands
from tests.support.client import Client
from tests.support.servers import ROOT, RunningService

pytestmark = pytest.mark.docs
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_quickstart_ends_with_the_ap_that_was_reported(service: RunningService, client: Client, tmp_path: Path):
    service.start_worker()
    service.wait_for_workers()
    [block] = [block for block in all_blocks(*SHELLS) if block.comment == "run: quickstart"]
    printed = run_commands([block], prepare(tmp_path), service.url)
    [job] = client.get("/jobs")["data"]
    assert job["state"] == "succeeded"
    result = client.get(f"/jobs/{job['id']}")["result"]
    assert "event: step" in printed
    measured = float(re.findall(r"^AP ([0-9.]+)", printed, re.MULTILINE)[-1])
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

"""Commands of the documentation, as a reader would type them in a checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import ROOT, Block
from tests.support.rectangles import write_rectangles
from tests.support.uploads import zip_of

PLACEHOLDERS = {
    "path/to/coco-folder": "mine",
    "path/to/checkpoint": "examples/digits/teacher",
}
"""What stands for something of the reader's own, and what is taken in a test; `prepare` lays out the files."""
SERVICE = "http://127.0.0.1:8000"
"""The address that the documentation gives; in a test the service has another."""
SHELL = """
make() { command make --dry-run --silent "$@"; }  # its targets and files exist
curl() { command curl --fail-with-body "$@"; }
"""


def prepare(folder: Path) -> Path:
    """A copy of the sources, with files of the names that pages use for the reader's own."""
    left_out = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "dist")
    shutil.copytree(ROOT, folder, ignore=left_out, dirs_exist_ok=True)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "frontend" / "dist").symlink_to(ROOT / "frontend" / "dist")
    (folder / ".run").mkdir()
    write_rectangles(folder / "mine", images={"train": 12, "val": 6})
    one = write_rectangles(folder / ".run" / "one", images={"train": 20})
    (folder / "mine.zip").write_bytes(zip_of(one))
    shutil.copytree(ROOT / "examples" / "digits" / "teacher", folder / "student")
    return folder


def run_commands(blocks: list[Block], folder: Path, url: str) -> str:
    """Run blocks in one shell that stops at the first error; what they print."""
    script = f"API={url}{SHELL}"
    for block in blocks:
        text = block.commands.replace(SERVICE, url)
        for placeholder, ours in PLACEHOLDERS.items():
            text = text.replace(placeholder, ours)
        script += f"echo '{block.place}' >&2\n{text}\n"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return done.stdout

"""Every command, configuration and snippet of the documentation works; `tests/docs/blocks.py` says what is run when."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest

from api.jobs.schemas import JobCreate
from detrdistill.__main__ import RunFile
from detrdistill.schema.run import RUN_CONFIG, RunConfig
from tests.docs.blocks import SHELLS, Block, all_blocks, blocks_of
from tests.docs.shell import SERVICE, prepare, run_commands
from tests.support.servers import RunningService

pytestmark = pytest.mark.docs
KNOWN = re.compile(r"run: (slow|quickstart)|not (run|a configuration): \S.{4,}|")
COMMANDS = all_blocks(*SHELLS)
SNIPPETS = all_blocks("python")
DOCUMENTS = all_blocks("json")


def url_for(blocks: list[Block], request: pytest.FixtureRequest, *, work: bool = False) -> str:
    """The address of a service, which is started where the blocks ask for one."""
    if not any("$API" in block.text or SERVICE in block.text for block in blocks):
        return SERVICE
    service: RunningService = request.getfixturevalue("service")
    if work:
        service.start_worker()
        service.wait_for_workers()
    return service.url


def to_run(page: str, *, slow: bool) -> list[Block]:
    """The blocks of a page that are run, the slow ones among them or not."""
    return [one for one in COMMANDS if one.page == page and not one.left_out and (slow or not one.slow)]


def pages_with(*, slow: bool) -> list[str]:
    return list(dict.fromkeys(one.page for one in COMMANDS if not one.left_out and one.slow == slow))


@pytest.mark.parametrize("block", [*COMMANDS, *SNIPPETS, *DOCUMENTS], ids=lambda block: block.place)
def test_every_block_is_run_or_says_why_not(block: Block):
    assert KNOWN.fullmatch(block.comment), f"{block.place}: {block.comment!r} is none of those in tests/docs/blocks.py"
    assert ("configuration" in block.comment) <= (block.language == "json")


@pytest.mark.parametrize("page", pages_with(slow=False))
def test_the_commands_of_a_page(page: str, request: pytest.FixtureRequest, tmp_path: Path):
    blocks = to_run(page, slow=False)
    run_commands(blocks, prepare(tmp_path), url_for(blocks, request))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", pages_with(slow=True))
def test_the_slow_commands_of_a_page(page: str, request: pytest.FixtureRequest, tmp_path: Path):
    blocks = to_run(page, slow=True)
    run_commands(blocks, prepare(tmp_path), url_for(blocks, request, work=True))


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.place)
def test_the_syntax_of_commands(block: Block):
    done = subprocess.run(["bash", "-n"], input=block.commands, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", SNIPPETS, ids=lambda block: block.place)
def test_a_snippet_compiles(block: Block):
    compile(block.text, block.place, "exec")


@pytest.mark.parametrize(
    "block",
    [pytest.param(one, marks=pytest.mark.slow if one.slow else ()) for one in SNIPPETS if not one.left_out],
    ids=lambda block: block.place,
)
def test_a_snippet_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(prepare(tmp_path))
    exec(compile(block.text, block.place, "exec"), {"__name__": "__main__"})


def validate(document: Any) -> None:
    """A configuration, a run file, the request of a job, or fields of a configuration whose kind is told elsewhere."""
    fields = {name for model in get_args(get_args(RunConfig)[0]) for name in model.model_fields}
    if "paths" in document:
        RunFile.model_validate(document)
    elif "dataset_id" in document:
        JobCreate.model_validate(document)
    elif "kind" in document or fields >= document.keys():
        RUN_CONFIG.validate_python({"kind": "distill"} | document)
    else:
        pytest.fail(f"neither configuration, run file nor job: {sorted(document)}")


@pytest.mark.parametrize("block", DOCUMENTS, ids=lambda block: block.place)
def test_a_document_is_valid(block: Block):
    document = json.loads(block.text)
    if not block.left_out:
        validate(document)


def test_blocks_are_found_with_their_comments():
    text = (
        "Some `code`.\n\n<!-- not run: needs a GPU -->\n\n```sh\nmake demo\n```\n\n- indented:\n\n"
        "  ```console\n  $ ls\n  mine\n  ```\n\n<!-- run: slow -->\nA paragraph between.\n\n~~~python\n```\n~~~\n"
    )
    found = [(one.line, one.language, one.commands, one.comment) for one in blocks_of("page.md", text)]
    assert found == [
        (5, "sh", "make demo\n", "not run: needs a GPU"),
        (11, "console", "ls\n", ""),
        (19, "python", "```\n", ""),
    ]


@pytest.mark.parametrize("line", ["false", "make no-such-target", "curl -s $API/no-such-page", "echo $UNSET"])
def test_a_command_that_fails_is_noticed(line: str, tmp_path: Path):
    (tmp_path / "Makefile").write_text("all:\n")
    with pytest.raises(AssertionError, match=r"page\.md:1"):
        run_commands([Block("page.md", 1, "sh", f"{line}\ntrue\n", "")], tmp_path, "http://127.0.0.1:9")

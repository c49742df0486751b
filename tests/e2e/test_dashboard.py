"""What a person does: upload, fill in the form, watch, download, load."""

import os
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from transformers import AutoModelForObjectDetection

from detrdistill.schema.method_table import METHODS
from tests.support.uploads import write_teacher, zip_of

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def archives(rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files a person would have on their machine."""
    folder = tmp_path_factory.mktemp("archives")
    (folder / "rectangles.zip").write_bytes(zip_of(rectangles))
    (folder / "teacher.zip").write_bytes(zip_of(write_teacher(folder / "teacher")))
    return {path.stem: path for path in folder.glob("*.zip")}


def screenshot(page: Page, name: str) -> None:
    """Keep an image where the environment asks for images."""
    if folder := os.environ.get("DETRDISTILL_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def upload(page: Page, button: str, form: str, archive: Path) -> None:
    page.get_by_role("button", name=button).click()
    area = page.get_by_role("form", name=form)
    area.get_by_label("files").set_input_files(archive)
    area.get_by_role("button", name="Upload", exact=True).click()
    expect(area).to_be_hidden(timeout=30_000)


@pytest.mark.export
def test_a_job_from_the_form_to_the_weights(page: Page, archives: dict[str, Path], tmp_path: Path):
    page.goto("/")
    page.get_by_role("link", name="New job").click()
    page.get_by_label("Name").fill("rectangles")
    upload(page, "Upload a dataset", "Upload a dataset", archives["rectangles"])
    upload(page, "Upload a checkpoint", "Upload a checkpoint", archives["teacher"])
    expect(page.get_by_label("Dataset")).to_contain_text("rectangles (12 images, 2 classes)")
    page.get_by_label("Size", exact=True).select_option("pico")
    page.get_by_label("Image size").fill("64")
    page.get_by_label("Epochs").fill("20")
    page.get_by_label("Batch size").fill("4")

    page.get_by_label("Lowest teacher AP").fill("0")
    page.get_by_label("Learning rate").fill("-1")
    page.get_by_role("button", name="Start job").click()
    expect(page.get_by_text("Input should be greater than 0").first).to_be_visible()
    page.get_by_label("Learning rate").fill("0.001")
    screenshot(page, "form")
    page.get_by_role("button", name="Start job").click()

    expect(page.get_by_role("heading", name=re.compile("rectangles"))).to_be_visible()
    expect(page.get_by_text("images/s")).to_be_visible(timeout=150_000)
    expect(page.get_by_text(METHODS["matched_logits"].title, exact=True)).to_be_visible()
    screenshot(page, "running")
    page.reload()
    expect(page.get_by_role("progressbar", name="progress")).to_be_visible()
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("row", name=re.compile("rectangles"))).to_contain_text("running")
    screenshot(page, "list")
    page.get_by_role("link", name="rectangles").click()

    expect(page.get_by_text("succeeded").first).to_be_visible(timeout=300_000)
    expect(page.get_by_text("KD gain", exact=True)).to_be_visible()
    screenshot(page, "finished")
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("Download student weights")).click()
    target = tmp_path / "student.zip"
    download.value.save_as(target)
    with zipfile.ZipFile(target) as archive:
        archive.extractall(tmp_path)
    assert AutoModelForObjectDetection.from_pretrained(tmp_path / "student").config.num_labels == 2


def test_a_running_job_can_be_cancelled(page: Page, archives: dict[str, Path]):
    page.goto("/view/new")
    page.get_by_role("radio", name="Train or fine-tune").click()
    page.get_by_label("Name").fill("to be cancelled")
    upload(page, "Upload a dataset", "Upload a dataset", archives["rectangles"])
    page.get_by_label("Size", exact=True).select_option("pico")
    page.get_by_label("Image size").fill("64")
    page.get_by_label("Epochs").fill("5000")
    page.get_by_role("button", name="Start job").click()
    expect(page.get_by_text("images/s")).to_be_visible(timeout=150_000)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled", exact=True).first).to_be_visible(timeout=90_000)


def test_a_student_that_learned_nothing_does_not_look_like_a_success(page: Page, archives: dict[str, Path]):
    page.goto("/view/new")
    page.get_by_role("radio", name="Train or fine-tune").click()
    page.get_by_label("Name").fill("too short")
    upload(page, "Upload a dataset", "Upload a dataset", archives["rectangles"])
    page.get_by_label("Size", exact=True).select_option("pico")
    page.get_by_label("Image size").fill("64")
    page.get_by_label("Epochs").fill("1")
    page.get_by_role("button", name="Start job").click()
    verdict = page.get_by_role("alert").filter(has_text="Learned nothing")
    expect(verdict).to_contain_text("The student scores AP 0.00", timeout=240_000)
    expect(verdict).to_contain_text("Try more epochs, a higher training.lr")
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("row", name=re.compile("too short"))).to_contain_text("learned nothing")


def test_what_the_server_refuses_is_shown_where_it_belongs(page: Page, archives: dict[str, Path], tmp_path: Path):
    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(broken, "w") as archive:
        for split in ("train", "val"):
            archive.writestr(f"{split}.json", "{}")
    page.goto("/view/library")
    area = page.get_by_role("form", name="Upload a dataset")
    area.get_by_label("files").set_input_files(broken)
    area.get_by_role("button", name="Upload", exact=True).click()
    expect(area.get_by_role("alert")).to_contain_text("not a COCO file")


def test_unknown_pages_and_jobs_are_said_to_be_so(page: Page):
    page.goto("/view/nowhere")
    expect(page.get_by_text("There is no such page")).to_be_visible()

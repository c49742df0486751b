"""A real browser against the whole service."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect, sync_playwright

from tests.support.client import PATIENCE, running_service
from tests.support.servers import ROOT, RunningService, Servers

expect.set_options(timeout=5_000 * PATIENCE)
_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: of the system, or the one `playwright install chromium` brings."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    flags = [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else _FLAGS
    with sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(executable_path=found, args=flags)
        except Error as error:
            advice = "no Chromium: apt install chromium, or .venv/bin/playwright install chromium"
            if os.environ.get("DETRDISTILL_REQUIRE_BROWSER"):
                pytest.fail(f"{advice}\n{error}")
            pytest.skip(advice)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def dashboard_service(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Api with the built dashboard, scheduler and worker; ended before other tests start theirs on the same broker."""
    assert (ROOT / "frontend" / "dist" / "index.html").is_file(), "the dashboard is not built: make setup"
    with running_service(servers, tmp_path_factory.mktemp("dashboard")) as running:
        running.start_worker()
        running.wait_for_workers()
        yield running


@pytest.fixture
def page(browser: Browser, dashboard_service: RunningService) -> Iterator[Page]:
    """A page of the dashboard; an error in its console fails the test."""
    with opened_page(browser, dashboard_service.url) as opened:
        yield opened


@pytest.fixture
def quiet_page(browser: Browser, standing_service: RunningService) -> Iterator[Page]:
    """A page of a service without workers, whose jobs stay queued."""
    with opened_page(browser, standing_service.url) as opened:
        yield opened


@contextmanager
def opened_page(browser: Browser, url: str) -> Iterator[Page]:
    """A page in a browser profile of its own; an error in its console is an error here."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        refused = "the server responded with a status of 4" in message.text  # what a test provokes
        if message.type == "error" and not refused:
            complaints.append(message.text)

    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    opened.on("console", listen)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    folder = os.environ.get("DETRDISTILL_SCREENSHOTS")
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        opened.screenshot(path=Path(folder) / "last.png", full_page=True)
    context.close()
    assert complaints == []

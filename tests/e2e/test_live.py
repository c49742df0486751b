"""What a person sees while things happen elsewhere: in other tabs, to the service, to the network."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.support.client import Client
from tests.support.servers import RunningService

pytestmark = pytest.mark.browser

TABS = 7
"""One more than the connections a browser gives an origin over HTTP/1.1."""


@pytest.fixture(scope="module")
def dataset_id(standing_service: RunningService, rectangles: Path) -> str:
    return Client(standing_service.url).upload("datasets", "rectangles", rectangles)


def queued_job(client: Client, dataset_id: str, name: str) -> str:
    """A job that stays queued, for there is no worker."""
    config = {"kind": "train", "student": {"family": "rt-detr-v2", "size": "pico"}, "data": {"image_size": 64}}
    return client.submit(name=name, dataset_id=dataset_id, config=config)


def log_of(tab: Page) -> Locator:
    return tab.locator("section", has=tab.get_by_role("heading", name="Events"))


@pytest.fixture
def context(browser: Browser, standing_service: RunningService) -> Iterator[BrowserContext]:
    """Tabs of one browser profile, whose consoles may complain."""
    opened = browser.new_context(base_url=standing_service.url)
    opened.set_default_timeout(15_000)
    yield opened
    opened.close()


def test_seven_tabs_are_all_live_and_all_navigate(context: BrowserContext, client: Client, dataset_id: str):
    jobs = [queued_job(client, dataset_id, f"job of tab {index}") for index in range(TABS)]
    tabs = [context.new_page() for _ in jobs]
    for tab, job_id in zip(tabs, jobs, strict=True):
        tab.goto(f"/view/jobs/{job_id}", wait_until="domcontentloaded")
    for tab in tabs:
        expect(log_of(tab).get_by_text("queued")).to_be_visible()
        expect(tab.locator("[data-live=live]")).to_be_visible()
    for tab, job_id in zip(tabs, jobs, strict=True):
        client.http.post(f"/jobs/{job_id}/cancel")
        expect(tab.get_by_text("cancelled", exact=True).first).to_be_visible(timeout=5000)
    for tab in tabs:
        begin = time.monotonic()
        tab.get_by_role("link", name="Jobs").click()
        expect(tab.get_by_role("link", name="job of tab 6")).to_be_visible()
        assert time.monotonic() - begin < 4


def test_a_hidden_tab_lets_go_of_the_stream_and_catches_up(quiet_page: Page, client: Client, dataset_id: str):
    job_id = queued_job(client, dataset_id, "unseen")
    quiet_page.goto(f"/view/jobs/{job_id}")
    log = log_of(quiet_page)
    expect(log.get_by_text("queued")).to_be_visible()
    show = """state => {
        Object.defineProperty(document, "visibilityState", {get: () => state, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    quiet_page.evaluate(show, "hidden")
    quiet_page.wait_for_timeout(300)
    client.http.post(f"/jobs/{job_id}/cancel")
    quiet_page.wait_for_timeout(2500)
    expect(log.get_by_text("cancellation requested")).to_be_hidden()
    quiet_page.evaluate(show, "visible")
    expect(log.get_by_text("cancellation requested")).to_be_visible()
    expect(log.get_by_text("queued")).to_have_count(1)


@contextmanager
def away(service: RunningService) -> Iterator[None]:
    """In place of the api something answers 503 to everything, as a proxy does, or the api without its database."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    began = time.monotonic()
    service.processes["api"].stop()
    assert time.monotonic() - began < 12, "it waited for the streams of open tabs until it was killed"
    server = ThreadingHTTPServer(("127.0.0.1", service.port), Refusing)
    Thread(target=server.serve_forever).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        service.start_api()


def test_a_service_that_is_away_is_said_to_be_and_comes_back(
    context: BrowserContext, service: RunningService, client: Client, dataset_id: str
):
    job_id = queued_job(client, dataset_id, "survivor")
    tab, other = context.new_page(), context.new_page()
    tab.goto(f"/view/jobs/{job_id}")
    other.goto("/")
    expect(log_of(tab).get_by_text("queued")).to_be_visible()
    with away(service):
        chip = tab.locator("[data-live]")
        expect(chip).to_contain_text("last event", timeout=10_000)
        expect(chip).to_have_attribute("data-live", "reconnecting")
        banner = tab.get_by_role("alert").filter(has_text="The service does not answer")
        expect(banner).to_be_visible()
        tab.get_by_role("button", name="Cancel").click()
        expect(tab.get_by_role("alert").filter(has_text="The job was not cancelled")).to_be_visible()
        tab.wait_for_timeout(3000)
        expect(chip).to_have_attribute("data-live", "reconnecting")
        other.get_by_role("link", name="New job").click()
        expect(other.get_by_role("alert").filter(has_text="The service does not answer").first).to_be_visible()
    expect(tab.locator("[data-live=live]")).to_be_visible(timeout=20_000)
    expect(banner).to_be_hidden(timeout=10_000)
    expect(other.get_by_label("Family")).to_contain_text("RT-DETRv2", timeout=15_000)
    tab.get_by_role("button", name="Cancel").click()
    expect(tab.get_by_text("cancelled", exact=True).first).to_be_visible()


def test_a_browser_that_calls_itself_offline_still_shows_a_local_service(
    quiet_page: Page, client: Client, dataset_id: str
):
    queued_job(client, dataset_id, "here all the same")
    quiet_page.goto("/view/new")
    quiet_page.evaluate("window.dispatchEvent(new Event('offline'))")
    quiet_page.get_by_role("link", name="Library").click()
    expect(quiet_page.get_by_text("rectangles").first).to_be_visible()
    quiet_page.get_by_role("link", name="Jobs").click()
    expect(quiet_page.get_by_role("link", name="here all the same")).to_be_visible()

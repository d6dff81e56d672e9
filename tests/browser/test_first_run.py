"""From an empty database to a finished job through the pages alone, with JavaScript and without; by keyboard too."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from bgapp import create_app
from tests.browser.conftest import DESKTOP, Installation, size
from tests.browser.furnished import ALLOWED
from tests.site import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.process]

PASSWORD = "four unrelated words here"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An installation with nothing in it."""
    instance = tmp_path / "site"
    instance.mkdir(mode=0o700)
    environment = {
        "BGAPP_INSTANCE": str(instance),
        "BGAPP_ALLOWED_JOBS": json.dumps(ALLOWED),
        "BGAPP_TICK": "0.2",
        "BGAPP_RETRY_BACKOFF": "0.1 fixed",
        "BGAPP_KILL_GRACE": "1",
    }
    with monkeypatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        found = Site(create_app(), environment, instance)
    yield found
    found.end()


@pytest.fixture
def address(site: Site) -> tuple[str, str]:
    """That installation, served: its address and the code for its first admin."""
    process = site.run_python("-m", "tests.browser.serving", stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as output:
        found, code = json.loads(output.readline())
    return found, code


def set_up(page: Page, code: str) -> None:
    page.goto("/")
    if not page.url.endswith("/setup"):
        page.goto("/setup")
    page.fill("[name=code]", code)
    page.fill("[name=name]", "ada")
    page.fill("[name=password]", PASSWORD)
    page.fill("[name=again]", PASSWORD)
    page.click("main button.main")
    expect(page.locator("h1")).to_have_text("Overview")


def look_again(page: Page, words: str) -> None:
    """Press Refresh until the page says so, as one does without JavaScript."""

    def says() -> bool:
        page.click("text=Refresh")
        return words in page.locator("main").inner_text()

    wait_for(says, f"the page to say {words!r}")


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without"])
def test_from_nothing_to_a_finished_job(address: tuple[str, str], chromium: Browser, javascript: bool) -> None:
    home, code = address
    context = chromium.new_context(base_url=home, viewport=size(DESKTOP), java_script_enabled=javascript)
    page = context.new_page()
    set_up(page, code)
    expect(page.locator("main")).to_contain_text("No jobs yet")
    page.click("button[aria-label='Run Catalogue.refresh_slowly']")
    assert page.url == f"{home}/"
    expect(page.locator(".notice")).to_contain_text("Job 1 is on its way: Catalogue.refresh_slowly.")
    page.click("text=Open job 1")
    if javascript:
        expect(page.locator("[data-output]")).to_contain_text("price 2", timeout=20_000)
        expect(page.locator(".outcome h2")).to_have_text("Completed", timeout=20_000)
        expect(page.locator("[data-output]")).to_contain_text("price 3")
    else:
        look_again(page, "Completed")
    # What it returned is the number of the last price that it told of.
    last = page.locator(".outcome .value").inner_text()
    expect(page.locator("[data-output]")).to_contain_text(f"price {last}", timeout=20_000)
    assert page.goto("/setup").status == 404  # type: ignore[union-attr] # it was answered
    context.close()


def test_a_failure_is_read_retried_and_deleted_without_javascript(address: tuple[str, str], chromium: Browser) -> None:
    home, code = address
    context = chromium.new_context(base_url=home, java_script_enabled=False)
    page = context.new_page()
    set_up(page, code)
    page.click("nav.wide >> text=Run a job")
    page.click("a:has-text('send')")
    page.fill("[name='p.number']", "-5")
    page.check("text=letter")
    page.click("text=When and how it runs")
    page.fill("[name='o.retries']", "1")
    page.click("text=Run the job")
    look_again(page, "there is no invoice -5")
    look_again(page, "Attempt 2 failed")
    expect(page.locator(".traceback").first).to_contain_text("ValueError: there is no invoice -5")
    page.click("text=Retry")
    expect(page.locator(".notice")).to_contain_text("Job 1 is on its way again")
    look_again(page, "Attempt 4 failed")
    page.click("text=Delete")
    expect(page.locator("h1")).to_have_text("Delete job 1?")
    page.click("text=Keep it")
    page.click("text=Delete")
    page.click("text=Delete the job")
    expect(page.locator(".notice")).to_have_text("Job 1 is deleted.")
    expect(page.locator("main")).to_contain_text("No jobs yet")
    context.close()


def test_a_running_job_is_cancelled_after_the_page_has_refreshed_itself(
    address: tuple[str, str], chromium: Browser
) -> None:
    home, code = address
    context = chromium.new_context(base_url=home)
    page = context.new_page()
    set_up(page, code)
    page.goto("/jobs/new?target=tests.browser.shopjobs.Catalogue.refresh_slowly")
    page.fill("[name='p.seconds']", "60")
    page.click("text=Run the job")
    for number in (2, 12, 25):
        expect(page.locator("[data-output]")).to_contain_text(f"price {number}\n", timeout=20_000)
    page.click(".job-head >> text=Cancel")
    expect(page.locator("h1")).to_have_text("Cancel job 1?")
    page.click("text=Cancel the job")
    expect(page.locator(".outcome h2")).to_have_text("Cancelled", timeout=20_000)
    expect(page.locator(".outcome")).to_contain_text("By ada")
    context.close()


# By keyboard ----------------------------------------------------------------------------------------------------


def tab_to(page: Page, words: str, most: int = 80) -> None:
    """Press Tab until the element with these words has the focus; all the while the focus can be seen."""
    for _ in range(most):
        page.keyboard.press("Tab")
        name, seen = page.evaluate(
            """() => { const one = document.activeElement, box = one.getBoundingClientRect();
                 return [one.getAttribute("aria-label") || one.innerText || one.id,
                         one !== document.body && getComputedStyle(one).outlineStyle !== "none"
                         && box.bottom > 0 && box.top < innerHeight]; }"""
        )
        assert seen, f"the focus on {name!r} cannot be seen"
        if words in name:
            return
    raise AssertionError(f"Tab never came to {words!r}")


def test_a_job_is_run_and_cancelled_by_keyboard_alone(installation: Installation) -> None:
    page = installation.page("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    tab_to(page, "Run Catalogue.refresh")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_contain_text("is on its way")
    tab_to(page, "Open job")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Catalogue.refresh")
    tab_to(page, "Cancel")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Cancel job")
    tab_to(page, "Cancel the job")
    page.keyboard.press("Enter")
    expect(page.locator(".outcome h2")).to_have_text("Cancelled")


def test_a_refused_form_takes_the_focus_to_what_is_wrong(installation: Installation) -> None:
    page = installation.page("/jobs/new?target=tests.browser.shopjobs.Reports.build")
    page.fill("[name='p.copies']", "many")
    page.press("[name='p.copies']", "Enter")
    assert page.evaluate("document.activeElement.className") == "problems"
    tab_to(page, "Enter month.", most=1)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.name") == "p.month"
    assert page.input_value("[name='p.copies']") == "many"


def test_a_form_is_sent_once_however_often_its_button_is_pressed(installation: Installation) -> None:
    page = installation.page("/jobs/new?target=tests.browser.shopjobs.Catalogue.refresh")
    page.evaluate(
        "() => { const form = document.querySelector('.run form'); form.requestSubmit(); form.requestSubmit(); }"
    )
    expect(page.locator("h1")).to_have_text("Catalogue.refresh")
    page.goto("/jobs?status=pending")
    assert page.locator("tbody tr:has-text('Catalogue.refresh')").count() == 1

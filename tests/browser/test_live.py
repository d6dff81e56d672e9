"""Pages that keep themselves fresh, and never at the cost of whoever is reading, typing or choosing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect
from sqlalchemy import delete, update

from bgapp import attemptlog, clock
from bgapp.accountmodels import LoginRow
from bgapp.database import Database
from bgapp.models import Status
from bgapp.runtime import of
from bgapp.statements import ATTEMPTS, JOBS
from tests.browser.conftest import Installation
from tests.waiting import wait_for

pytestmark = pytest.mark.browser

LONG, STEP = 10_000, 500  # ms of the page's own time


def database(installation: Installation) -> Database:
    return of(installation.app).database


def change(installation: Installation, name: str, **values: object) -> None:
    """Change a job's row, as a runner would."""
    with database(installation).write() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == installation.made.named[name]).values(values))


def opened(installation: Installation, path: str) -> Page:
    """Open a page whose clock the test turns."""
    page = installation.watched(installation.context().new_page())
    page.clock.install()
    page.goto(path)
    expect(page.locator("[data-htmx-powered]").first).to_be_attached()
    return page


class Asked:
    """What a page asks for by itself, and what it is still waiting for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.urls: list[str] = []
        self.waiting: set[Request] = set()
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    def _begin(self, request: Request) -> None:
        if "hx-request" in request.headers:
            self.urls.append(request.url)
            self.waiting.add(request)

    def _end(self, request: Request) -> None:
        self.waiting.discard(request)  # one that was asked for earlier may end only now

    def turn(self, milliseconds: int, until: int = 1000) -> None:
        """Turn the page's clock in small steps, so that no request times out by it; stop after so many requests."""
        for _ in range(milliseconds // STEP):
            self.page.clock.run_for(STEP)
            wait_for(self._is_quiet, "the end of what the page asks for")
            if len(self.urls) >= until:
                break

    def _is_quiet(self) -> bool:
        self.page.wait_for_timeout(5)  # only in it does Playwright tell of requests
        return not self.waiting


def polls(page: Page, during: int = LONG) -> list[str]:
    """Return what the page asked for by itself while its clock ran so long."""
    asked = Asked(page)
    asked.turn(during)
    return asked.urls


def turn(page: Page, milliseconds: int = LONG) -> None:
    """Let the page's clock run until it has asked once and been answered."""
    asked = Asked(page)
    asked.turn(milliseconds, until=1)
    assert asked.urls, "it asked for nothing"


def test_a_list_shows_changes_and_new_jobs_by_itself(installation: Installation) -> None:
    page = opened(installation, "/jobs")
    row = page.locator(f"#job-{installation.made.named['running']}")
    expect(row).to_contain_text("64 %")
    change(installation, "running", progress='{"fraction": 0.9, "message": "nearly"}')
    added = installation.made.add("shop.new.Thing.do", Status.PENDING, age=0, tries=0)
    turn(page)
    expect(row).to_contain_text("90 %")
    expect(page.locator("tbody tr").first).to_contain_text(str(added))


def test_an_unchanged_region_is_answered_without_a_body(installation: Installation) -> None:
    page = opened(installation, "/jobs")
    statuses: list[int] = []
    page.on("response", lambda found: statuses.append(found.status) if "hx-request" in found.request.headers else None)
    turn(page)
    turn(page)
    assert statuses == [200, 304]


def test_a_list_stays_where_it_is_under_the_pointer_and_tells_of_new_jobs(installation: Installation) -> None:
    page = opened(installation, "/jobs")
    first = page.locator("tbody tr").first.get_attribute("id")
    page.locator("tbody tr").nth(2).hover()
    installation.made.add("shop.new.Thing.do", Status.PENDING, age=0, tries=0)
    turn(page)
    assert page.locator("tbody tr").first.get_attribute("id") == first
    expect(page.locator(".fresh")).to_have_text(re.compile("1 new job, show"))
    page.mouse.move(0, 0)
    turn(page)
    expect(page.locator(".fresh")).to_have_count(0)
    assert page.locator("tbody tr").first.get_attribute("id") != first


def test_what_is_open_and_focused_stays_so_while_a_job_changes(installation: Installation) -> None:
    page = opened(installation, installation.job("retrying"))
    page.click(".traceback summary")
    page.focus("a:has-text('Attempt 1 failed')")
    change(installation, "retrying", error="another error")
    turn(page)
    expect(page.locator(".outcome")).to_contain_text("another error")
    assert page.locator("details.traceback").get_attribute("open") is not None
    assert (
        page.evaluate("document.activeElement.textContent")
        == page.locator("a:has-text('Attempt 1 failed')").inner_text()
    )


@pytest.mark.parametrize(
    ("what", "undo"),
    [
        ("click .freshness button", "click .freshness button"),
        ("select", "unselect"),
        ("click .menu summary", "press Escape"),
        ("focus #s3-month", "blur"),
    ],
)
def test_whoever_pauses_selects_or_types_is_left_in_peace(installation: Installation, what: str, undo: str) -> None:
    page = opened(installation, "/")
    if "#s3" in what:
        page.click(".starter:has(#s3-month) summary")
    _do(page, what)
    assert polls(page) == []
    _do(page, undo)
    assert polls(page) != []


def _do(page: Page, what: str) -> None:
    verb, _, where = what.partition(" ")
    if verb == "click":
        page.click(where)
    elif verb == "press":
        page.keyboard.press(where)
    elif verb == "focus":
        page.focus(where)
    elif verb == "blur":
        page.evaluate("document.activeElement.blur()")
    elif verb == "select":
        page.evaluate("getSelection().selectAllChildren(document.querySelector('.latest figcaption'))")
    else:
        page.evaluate("getSelection().removeAllRanges()")


def test_a_hidden_page_asks_for_nothing_and_asks_at_once_when_it_is_seen(installation: Installation) -> None:
    page = opened(installation, "/")
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    assert polls(page) == []
    page.evaluate("delete document.hidden")
    with page.expect_response(lambda response: "hx-request" in response.request.headers):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_a_pause_outlives_the_page(installation: Installation) -> None:
    page = opened(installation, "/")
    page.click(".freshness button")
    expect(page.locator(".freshness")).to_contain_text("Paused")
    page.goto("/jobs")
    expect(page.locator(".freshness")).to_contain_text("Paused")
    assert polls(page) == []


def test_a_job_that_ends_is_asked_for_no_more(installation: Installation) -> None:
    page = opened(installation, installation.job("pending"))
    now = clock.now()
    change(installation, "pending", status="cancelled", reason="cancelled", finished_at=now, cancelled_by="grace")
    turn(page)
    expect(page.locator(".outcome")).to_contain_text("By grace")
    expect(page.locator(".freshness")).to_contain_text("Final")
    polls(page, 2000)  # the log's own question is still to be answered
    assert polls(page) == []
    expect(page.locator("button:has-text('Retry')")).to_be_visible()


def test_a_server_that_does_not_answer_is_told_of_and_asked_less_often(installation: Installation) -> None:
    page = opened(installation, "/")
    page.route(
        "**/*", lambda route: route.fulfill(status=503) if "hx-request" in route.request.headers else route.continue_()
    )
    for _ in range(3):
        turn(page)
    expect(page.locator(".freshness")).to_contain_text("Not updated since")
    assert len(polls(page, 30_000)) <= 4
    page.unroute_all()
    turn(page, 40_000)
    expect(page.locator(".freshness")).to_contain_text("Live")


def test_whoever_is_signed_out_meanwhile_is_led_to_the_login_page(installation: Installation) -> None:
    page = opened(installation, "/jobs")
    with database(installation).write() as connection:
        connection.execute(delete(LoginRow))
    page.clock.run_for(3500)
    page.wait_for_url("**/login?**")
    assert page.locator("#jobs").count() == 0


def test_screen_readers_get_a_summary_now_and_then_and_never_the_table(installation: Installation) -> None:
    page = opened(installation, "/")
    polls(page, 16_000)
    spoken = page.locator("[data-announce]")
    assert page.locator("[aria-live]:not([data-output])").count() == 0
    for fraction in (0.7, 0.8):
        change(installation, "running", progress=f'{{"fraction": {fraction}, "message": "x"}}')
        turn(page)
    assert spoken.inner_text() == ""  # nothing that counts has changed
    change(installation, "pending", status="scheduled")
    polls(page, 20_000)
    expect(spoken).to_have_text("3 running, 1 pending, 6 failed")


# Logs -----------------------------------------------------------------------------------------------------------


def output(installation: Installation, name: str, attempt: int = 1) -> Path:
    return attemptlog.path(of(installation.app).settings.log_dir, installation.made.named[name], attempt)


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_log_grows_line_by_line_once_each_and_stops_at_its_end(installation: Installation) -> None:
    page = opened(installation, installation.job("running") + "/log")
    path = output(installation, "running")
    for number in range(5):
        append(path, f"new line {number} <b>&amp;</b>\n")
        turn(page)
    text = page.locator("[data-output]").inner_text()
    assert [line for line in text.splitlines() if "new line" in line] == [
        f"new line {n} <b>&amp;</b>" for n in range(5)
    ]
    end(installation, "running")
    append(path, "the last words\n")
    turn(page)
    expect(page.locator("[data-output]")).to_contain_text("the last words")
    assert polls(page) == []


def test_a_log_is_followed_at_its_end_and_left_alone_above_it(installation: Installation) -> None:
    page = opened(installation, installation.job("running"))
    pane, path = page.locator("[data-output]"), output(installation, "running")
    at_end = "one => one.scrollTop + one.clientHeight >= one.scrollHeight - 24"
    assert pane.evaluate(at_end)
    append(path, "more\n" * 30)
    turn(page)
    expect(pane).to_contain_text("more")
    assert pane.evaluate(at_end)
    pane.evaluate("one => { one.scrollTop = 100 }")
    expect(pane).to_have_attribute("data-js-end", "")
    append(path, "still more\n" * 30)
    turn(page)
    expect(pane).to_contain_text("still more")
    assert pane.evaluate("one => one.scrollTop") == 100
    page.click("text=Jump to newest")
    assert pane.evaluate(at_end)


def test_the_pane_goes_on_with_the_next_attempt(installation: Installation) -> None:
    page = opened(installation, installation.job("retrying"))
    expect(page.locator("[data-output]")).to_contain_text("asking Norden AB")
    job = installation.made.named["retrying"]
    with database(installation).write() as connection:
        connection.execute(
            ATTEMPTS.insert().values(
                job_id=job, number=2, status="running", node="node-1", runner_pid=1, started_at=clock.now()
            )
        )
    installation.made.write(job, 2, "the second try\n")
    turn(page)
    expect(page.locator("[data-output]")).to_have_text(re.compile("the second try"))
    expect(page.locator("[data-output]")).not_to_contain_text("asking Norden AB")


def test_a_flood_of_output_stays_bounded_in_the_page(installation: Installation) -> None:
    page = opened(installation, installation.job("running") + "/log")
    path = output(installation, "running")
    for _ in range(14):
        append(path, ("x" * 99 + "\n") * 1200)
        turn(page)
    assert page.evaluate("document.querySelector('[data-output]').textContent.length") < 1_400_000


def end(installation: Installation, name: str) -> None:
    """Complete a running job and its attempt."""
    job, now = installation.made.named[name], clock.now()
    with database(installation).write() as connection:
        connection.execute(
            update(ATTEMPTS).where(ATTEMPTS.c.job_id == job).values(status="completed", finished_at=now, exit_code=0)
        )
        connection.execute(
            update(JOBS)
            .where(JOBS.c.id == job)
            .values(status="completed", finished_at=now, token=None, lease_until=None, result="1")
        )

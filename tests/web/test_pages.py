"""The job pages as the server sends them: what they show of each state, of hostile text, of nothing, and in pages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from flask import Flask

from bgapp import attemptlog
from bgapp.models import Reason, Status
from bgapp.runtime import Runtime
from bgapp.statements import JOBS
from tests import factories
from tests.factories import NOW, SECOND
from tests.web.conftest import Browser
from tests.web.rows import LIVE, add, add_attempt, text_of, write_log

HOSTILE = "<script>alert(1)</script>'\"&amp;\u202e\x1b[31m\u200b😀" + "x" * 50
SHOWN = "&lt;script&gt;alert(1)&lt;/script&gt;&#39;&#34;&amp;amp;\\u202e\\x1b[31m\\u200b😀"


@pytest.fixture
def viewer(browser: Callable[..., Browser]) -> Browser:
    return browser("viewer")


@pytest.fixture
def admin(browser: Callable[..., Browser]) -> Browser:
    return browser("admin")


# Hostile text ---------------------------------------------------------------------------------------------------------


def test_whatever_a_job_holds_is_shown_and_does_nothing(admin: Browser, runtime: Runtime) -> None:
    everywhere = {
        "job_class": f"shop.{HOSTILE}",
        "method": HOSTILE,
        "params": json.dumps({HOSTILE: HOSTILE, "list": [HOSTILE]}),
        "error": f"{HOSTILE}\n{HOSTILE}",
        "created_by": HOSTILE,
        "queue": HOSTILE[:64],
        "unique_key": HOSTILE,
        "progress": json.dumps({"fraction": 0.5, "message": HOSTILE}),
        "cancelled_by": HOSTILE,
        "result": json.dumps({HOSTILE: HOSTILE}),
    }
    paths = ["/", "/jobs"]
    for status in Status:
        job_id = add(runtime, status, **everywhere | {"unique_key": f"{HOSTILE}{status}", "reason": None})
        add_attempt(runtime, job_id, error=HOSTILE, traceback=f"Traceback\n{HOSTILE}")
        write_log(runtime, job_id, HOSTILE.encode())
        paths += [f"/jobs/{job_id}", f"/jobs/{job_id}/log"]
    for path in paths:
        html = admin.get(path).text
        assert "<script>alert" not in html
        assert "\u202e" not in html
        assert "\x1b" not in html
        assert "\u200b" not in html
        if "/jobs/" in path:
            assert SHOWN in html


def test_a_progress_that_is_no_number_breaks_no_page(viewer: Browser, runtime: Runtime) -> None:
    for told in ('{"fraction": "half", "message": null}', '{"fraction": null}', "[1]", "no json", '{"message": 7}'):
        job_id = add(runtime, Status.RUNNING, progress=told)
        for path in ("/", "/jobs", f"/jobs/{job_id}"):
            assert viewer.get(path).status_code == 200


def test_rows_that_were_edited_by_hand_break_no_page(viewer: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.COMPLETED, params="no json", result="{", job_class="", method="")
    answer = viewer.get(f"/jobs/{job_id}")
    assert answer.status_code == 200
    assert "None were given." in answer.text


def test_secret_parameters_are_hidden(viewer: Browser, runtime: Runtime) -> None:
    params = json.dumps({"password": "hunter2", "pin": "4711-0", "plain": {"api_key": "k-123", "open": "shown"}})
    job_id = add(runtime, params=params, secret_params='["pin"]')
    html = viewer.get(f"/jobs/{job_id}").text
    assert "hunter2" not in html
    assert "4711-0" not in html
    assert "k-123" not in html
    assert "shown" in html
    assert html.count(">hidden<") == 2


# Nothing to show ------------------------------------------------------------------------------------------------------


def test_an_empty_installation_says_how_to_begin(viewer: Browser, admin: Browser) -> None:
    for path in ("/", "/jobs"):
        html = admin.get(path).text
        assert "No jobs yet" in html
        assert 'href="/jobs/new"' in html
        assert 'href="/jobs/new"' not in viewer.get(path).text


def test_an_empty_status_is_told_from_an_empty_list(viewer: Browser, runtime: Runtime) -> None:
    add(runtime)
    html = viewer.get("/jobs?status=failed").text
    assert "No job is failed" in html
    assert "Show all jobs" in html
    assert "No jobs yet" not in html


def test_beyond_the_end_of_the_list_a_link_leads_back(viewer: Browser, runtime: Runtime) -> None:
    add(runtime)
    assert "Go to the newest jobs" in viewer.get("/jobs?before=1").text


# The list -------------------------------------------------------------------------------------------------------------


def ids(html: str) -> list[int]:
    return [int(number) for number in re.findall(r'<tr role="row" id="job-(\d+)"', html)]


def link(html: str, words: str) -> str | None:
    found = re.search(rf'<a href="([^"]+)"[^>]*>(?:<svg.*?</svg>)?{words}', html)
    return found[1].replace("&amp;", "&") if found else None


def test_a_status_filters_the_list_and_its_pages(viewer: Browser, runtime: Runtime) -> None:
    failed = [add(runtime, Status.FAILED if number % 2 else Status.COMPLETED) for number in range(120)][1::2]
    first = viewer.get("/jobs?status=failed").text
    assert ids(first) == failed[:-51:-1]
    older = link(first, "Older")
    assert older is not None
    second = viewer.get(older).text
    assert ids(second) == failed[-51::-1]
    assert link(second, "Older") is None
    assert link(second, "Newest") == "/jobs?status=failed"
    newer = link(second, "Newer")
    assert newer is not None
    assert ids(viewer.get(newer).text) == failed[:-51:-1]


def test_paging_shows_each_job_once_while_new_ones_arrive(viewer: Browser, runtime: Runtime) -> None:
    made = [add(runtime) for _ in range(130)]
    seen, path = [], "/jobs"
    while path:
        html = viewer.get(path).text
        seen += ids(html)
        path = link(html, "Older") or ""
        add(runtime)
    assert seen == made[::-1]


@pytest.mark.parametrize(
    "query", ["status=nonsense", "before=x", "before=-1", "before=1e9", "after=%00", f"before={10**30}"]
)
def test_a_query_that_means_nothing_is_refused(viewer: Browser, query: str) -> None:
    assert viewer.get(f"/jobs?{query}").status_code in (400, 422)


def test_only_the_first_page_keeps_itself_fresh(viewer: Browser, runtime: Runtime) -> None:
    for _ in range(60):
        add(runtime)
    assert "data-live" in viewer.get("/jobs").text
    assert "data-live" not in viewer.get("/jobs?before=40").text


def test_the_counts_are_those_of_the_list_they_open(viewer: Browser, runtime: Runtime) -> None:
    for status, count in zip(Status, (1, 2, 3, 4, 5, 6), strict=True):
        for _ in range(count):
            add(runtime, status)
    overview = viewer.get("/").text
    for status, count in zip(Status, (1, 2, 3, 4, 5, 6), strict=True):
        tile = re.search(rf'href="(/jobs\?status={status})".*?<span class="big">(\d+)<', overview, re.DOTALL)
        assert tile is not None
        assert int(tile[2]) == count == len(ids(viewer.get(tile[1]).text))


# Live regions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/{job}"])
def test_a_region_alone_is_sent_once_for_each_content(viewer: Browser, runtime: Runtime, path: str) -> None:
    job_id = add(runtime, Status.RUNNING)
    path = path.format(job=job_id)
    first = viewer.get(path, headers=LIVE)
    assert "<html" not in first.text
    assert "data-live" in first.text
    again = viewer.get(path, headers={**LIVE, "If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.data == b""
    with runtime.database.write() as connection:
        connection.execute(JOBS.update().values(progress='{"fraction": 0.25, "message": "a quarter"}'))
    changed = viewer.get(path, headers={**LIVE, "If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert "a quarter" in changed.text


def test_no_form_token_stands_in_a_region(admin: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.FAILED)
    for path in ("/", "/jobs", f"/jobs/{job_id}"):
        assert "csrf_token" not in admin.get(path, headers=LIVE).text


def test_a_job_that_has_ended_asks_for_nothing_more(viewer: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.COMPLETED)
    html = viewer.get(f"/jobs/{job_id}").text
    assert "data-live" not in html
    assert "hx-get" not in html


def test_new_jobs_are_told_of_where_a_list_must_stay(viewer: Browser, runtime: Runtime) -> None:
    old = [add(runtime) for _ in range(3)]
    add(runtime)
    add(runtime, Status.FAILED)
    html = viewer.get(f"/jobs?upto={old[-1]}", headers=LIVE).text
    assert ids(html) == old[::-1]
    assert "2 new jobs, show" in text_of(html)
    assert "1 new job, show" in text_of(viewer.get(f"/jobs?status=pending&upto={old[-1]}", headers=LIVE).text)


def test_without_javascript_a_page_can_refresh_itself(viewer: Browser) -> None:
    assert viewer.get("/jobs?refresh=30").headers["Refresh"] == "30"
    assert viewer.get("/jobs?refresh=0").headers["Refresh"] == "5"
    assert "Refresh" not in viewer.get("/jobs?refresh=x").headers


# The overview ---------------------------------------------------------------------------------------------------------


def test_the_overview_says_when_nobody_picks_up_jobs(viewer: Browser, runtime: Runtime) -> None:
    add(runtime)
    assert "Nothing picks up jobs." in viewer.get("/").text
    lock = runtime.node.leader_lock()
    assert lock.try_exclusive()
    slot = runtime.node.take_slot(4)
    assert slot is not None
    words = text_of(viewer.get("/").text)
    assert "Jobs are picked up. 1 of" in words
    slot.release()
    assert "No runner is up just now" in viewer.get("/").text
    lock.release()


def test_the_overview_names_what_runs_and_what_failed(viewer: Browser, runtime: Runtime) -> None:
    add(runtime, Status.RUNNING, progress='{"fraction": 0.5, "message": "half way"}')
    add(runtime, Status.FAILED, error="ValueError: first line\nsecond line", attempt=2)
    words = text_of(viewer.get("/").text)
    assert "50 % half way" in words
    assert "ValueError: first line" in words
    assert "second line" not in words
    assert "2 attempts" in words


# One job --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "viewers", "operators", "admins"),
    [
        (Status.SCHEDULED, "", "Cancel", "Cancel Delete"),
        (Status.PENDING, "", "Cancel", "Cancel Delete"),
        (Status.RUNNING, "", "Cancel", "Cancel"),
        (Status.COMPLETED, "", "Run again", "Run again Delete"),
        (Status.FAILED, "", "Retry", "Retry Delete"),
        (Status.CANCELLED, "", "Retry", "Retry Delete"),
    ],
)
def test_actions_are_those_that_status_and_role_allow(
    browser: Callable[..., Browser], runtime: Runtime, status: Status, viewers: str, operators: str, admins: str
) -> None:
    job_id = add(runtime, status)
    for role, expected in (("viewer", viewers), ("operator", operators), ("admin", admins)):
        html = browser(role).get(f"/jobs/{job_id}").text
        actions = html.partition('<div class="actions">')[2].partition("</div>")[0]
        assert text_of(actions) == expected


def test_a_job_that_is_asked_to_stop_says_so_and_is_not_asked_twice(admin: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.RUNNING, cancel_requested_at=NOW, cancelled_by="grace")
    html = admin.get(f"/jobs/{job_id}").text
    assert "Running, and asked to stop" in html
    assert "Cancel asked for by grace" in html
    assert f"/jobs/{job_id}/cancel" not in html


def test_attempts_stand_newest_first_with_cost_and_ending(viewer: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.FAILED, attempt=2, error="second")
    add_attempt(runtime, job_id, 1, error="first", traceback="Traceback of the first", cpu_seconds=1.25)
    add_attempt(runtime, job_id, 2, error="second", exit_code=None, signal="SIGSEGV", peak_memory_bytes=52_428_800)
    html = viewer.get(f"/jobs/{job_id}").text
    words = text_of(html)
    assert html.index('id="attempt-2"') < html.index('id="attempt-1"')
    assert "Ended with SIGSEGV" in words
    assert "exit code 1" in words
    assert "50.0 MiB" in words
    assert "1.25 s" in words
    assert "Traceback of the first" in words


def test_page_and_shell_say_the_same_of_what_follows_an_attempt(viewer: Browser, runtime: Runtime, web: Flask) -> None:
    job_id = add(runtime, Status.FAILED, attempt=2, attempt_limit=2, reason="limit", error="the memory limit passed")
    add_attempt(runtime, job_id, 1, error="first")
    add_attempt(runtime, job_id, 2, reason="limit", error="the memory limit passed", exit_code=0)
    page = text_of(viewer.get(f"/jobs/{job_id}").text)
    shell = web.test_cli_runner().invoke(args=["jobs", "show", str(job_id)]).output
    last = "It is not tried again: no retry is left. Make it use less, or raise the limit in the allow-list. Then "
    for told, how in ((page, "press Retry."), (shell, f"`jobs retry {job_id}`, or Retry on its page.")):
        assert told.count("Attempt 2 followed.") == 1
        assert told.count(last + how) == 1


def test_a_hundred_attempts_are_listed_and_twenty_shown_whole(viewer: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.FAILED, attempt=100, attempt_limit=101)
    for number in range(1, 101):
        add_attempt(runtime, job_id, number, started_at=NOW + number * SECOND, error=f"error {number}")
    html = viewer.get(f"/jobs/{job_id}").text
    assert html.count("<article") == 20
    assert "80 earlier attempts" in html
    assert f'href="/jobs/{job_id}/log?attempt=1"' in html


def test_an_unknown_job_is_not_found_whatever_is_asked_of_it(admin: Browser) -> None:
    for path in ("", "/cancel", "/delete", "/log", "/log/tail", "/log/download"):
        assert admin.get(f"/jobs/4711{path}").status_code == 404
    for path in ("cancel", "retry", "delete"):
        assert admin.post(f"/jobs/4711/{path}", page="/").status_code == 404


def test_results_are_exact(viewer: Browser, runtime: Runtime) -> None:
    big = 2**70
    job_id = add(runtime, Status.COMPLETED, result=json.dumps({"big": big, "deep": [{"ä": None}]}))
    html = viewer.get(f"/jobs/{job_id}").text
    assert str(big) in html
    assert "ä" in html
    assert "null" in html
    nothing = add(runtime, Status.COMPLETED, result="null")
    assert "The method returned nothing." in viewer.get(f"/jobs/{nothing}").text


# What people do -------------------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_after_a_question(browser: Callable[..., Browser], runtime: Runtime) -> None:
    operator = browser("operator")
    job_id = add(runtime)
    assert f"Cancel job {job_id}?" in operator.get(f"/jobs/{job_id}/cancel").text
    answer = operator.post(f"/jobs/{job_id}/cancel", page=f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.location) == (303, f"/jobs/{job_id}")
    row = factories.row(runtime.database, job_id)
    assert row.status == "cancelled"
    assert row.cancelled_by.startswith("operator")
    assert f"Job {job_id} is cancelled." in operator.get(f"/jobs/{job_id}").text
    assert f"Job {job_id} is cancelled." not in operator.get(f"/jobs/{job_id}").text


def test_a_running_job_is_asked_to_stop(admin: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.RUNNING)
    assert "It is running." in admin.get(f"/jobs/{job_id}/cancel").text
    admin.post(f"/jobs/{job_id}/cancel", page=f"/jobs/{job_id}/cancel")
    assert factories.row(runtime.database, job_id).cancel_requested_at is not None


def test_a_failed_job_is_retried(browser: Callable[..., Browser], runtime: Runtime) -> None:
    operator = browser("operator")
    job_id = add(runtime, Status.FAILED, error="no", reason=Reason.ERROR)
    answer = operator.post(f"/jobs/{job_id}/retry", page=f"/jobs/{job_id}")
    assert answer.location == f"/jobs/{job_id}"
    assert factories.row(runtime.database, job_id).status == "pending"


def test_a_job_is_deleted_with_its_attempts_and_its_log(admin: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.FAILED)
    add_attempt(runtime, job_id)
    write_log(runtime, job_id, b"output")
    assert "can't be undone" in admin.get(f"/jobs/{job_id}/delete").text
    answer = admin.post(f"/jobs/{job_id}/delete", page=f"/jobs/{job_id}/delete")
    assert answer.location == "/jobs"
    assert f"Job {job_id} is deleted." in admin.get("/jobs").text
    assert admin.get(f"/jobs/{job_id}").status_code == 404
    assert not attemptlog.path(runtime.settings.log_dir, job_id, 1).exists()


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (Status.COMPLETED, "cancel"),
        (Status.FAILED, "cancel"),
        (Status.PENDING, "retry"),
        (Status.RUNNING, "retry"),
        (Status.RUNNING, "delete"),
    ],
)
def test_an_action_that_comes_too_late_shows_how_the_job_stands(
    admin: Browser, runtime: Runtime, status: Status, action: str
) -> None:
    job_id = add(runtime, status)
    answer = admin.post(f"/jobs/{job_id}/{action}", page="/")
    assert answer.status_code == 409
    assert "Nothing was changed." in answer.text
    assert f'class="chip {status}"' in answer.text
    assert "<title>Error:" in answer.text
    assert factories.row(runtime.database, job_id).status == status
    if action != "retry":
        assert admin.get(f"/jobs/{job_id}/{action}").status_code == 409


def test_viewers_can_change_nothing(viewer: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.FAILED)
    for action in ("cancel", "retry", "delete"):
        assert viewer.post(f"/jobs/{job_id}/{action}", page="/").status_code == 403
    assert viewer.get("/jobs/new").status_code == 403


# The shell ------------------------------------------------------------------------------------------------------------


def test_colours_are_chosen_by_a_form_and_kept_by_a_cookie(viewer: Browser) -> None:
    assert "data-theme" not in viewer.get("/jobs").text
    answer = viewer.post("/theme", page="/jobs", theme="dark", next="/jobs?status=failed")
    assert (answer.status_code, answer.location) == (303, "/jobs?status=failed")
    assert '<html lang="en" data-theme="dark">' in viewer.get("/jobs").text
    assert viewer.post("/theme", page="/jobs", theme="auto", next="https://evil.example/").location == "/"
    assert viewer.post("/theme", page="/jobs", theme="pink").status_code == 422


def test_controls_of_other_roles_are_not_there(viewer: Browser, admin: Browser) -> None:
    assert 'href="/users"' in admin.get("/").text
    assert 'href="/users"' not in viewer.get("/").text
    assert "Run a job" not in text_of(viewer.get("/jobs").text)

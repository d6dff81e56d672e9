"""The form of a method: the inputs that its hints ask for, what a filled one means, what is wrong with a bad one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Literal

import pytest
from flask import Flask

from bgapp.runtime import Runtime
from bgapp.statements import JOBS
from bgapp.web import filled, forms, widgets
from bgapp.web.forms import Input, RunForm
from tests import factories
from tests.browser.furnished import ALLOWED
from tests.web.conftest import Browser

SHOP = "tests.browser.shopjobs"
REPORT = f"{SHOP}.Reports.build"
EVERYTHING = f"{SHOP}.Everything.take"
REFRESH = f"{SHOP}.Catalogue.refresh"
FULL = {
    "p.text": "two\r\nlines ",
    "p.number": "12345678901234567890123",
    "p.amount": "0.10",
    "p.password": "hunter22",
    "p.anything": "plain",
    "p.anything.as": "text",
}


@pytest.fixture
def web(make_web: Callable[..., Flask]) -> Flask:
    return make_web(allowed_jobs=ALLOWED)


@pytest.fixture
def operator(browser: Callable[..., Browser]) -> Browser:
    return browser("operator")


def stored(runtime: Runtime) -> list[dict[str, Any]]:
    return factories.rows(runtime.database)


def send(browser: Browser, target: str, **fields: str) -> Any:
    return browser.post("/jobs/new", page=f"/jobs/new?target={target}", target=target, **fields)


def form_of(runtime: Runtime, target: str) -> RunForm:
    key, _, method = target.rpartition(".")
    found = forms.describe(runtime, runtime.allowlist.allowed(key, method))
    assert found is not None
    return found


# What the form shows --------------------------------------------------------------------------------------------


def test_every_allowed_method_can_be_chosen(operator: Browser) -> None:
    html = operator.get("/jobs/new").text
    for words in ("refresh", "refresh_slowly", "build", "send", "take"):
        assert re.search(rf'<a href="/jobs/new\?target=[^"]+">{words}</a>', html)
    assert "Build the report of one month and file it." in html
    assert "no parameters" in html


def test_the_form_has_an_input_for_each_parameter_with_its_words(operator: Browser) -> None:
    html = operator.get(f"/jobs/new?target={REPORT}").text
    for name in ("month", "kind", "copies", "draft", "note"):
        assert f'name="p.{name}"' in html
    assert 'type="date"' in html
    assert "any day of the month." in html
    assert 'name="p.copies" type="text" value="1"' in html
    assert re.search(r'value="&#34;sales&#34;" checked', html)
    assert re.search(r'value="false" checked', html)
    assert "building it again replaces it" in html  # the rest of the docstring
    assert "month: any day" not in html


@pytest.mark.parametrize(
    ("hint", "kind", "nullable"),
    [
        (str, "text", False),
        (int, "integer", False),
        (float, "number", False),
        (bool, "bool", False),
        (date, "date", False),
        (datetime, "datetime", False),
        (str | None, "text", True),
        (int | None, "integer", True),
        (Literal["a", "b"], "choice", False),
        (Literal["a", None], "choice", True),
        (list[str], "lines", False),
        (list[int] | None, "lines", True),
        (list[list[int]], "json", False),
        (dict[str, int], "json", False),
        (int | str, "text", False),
        (int | bool, "json", False),
        (tuple[int, str], "json", False),
        (Any, "json", False),
        (object, "json", False),
        (Callable[[], int], "json", False),
    ],
)
def test_a_hint_chooses_the_input(hint: Any, kind: str, nullable: bool) -> None:
    assert widgets.of(hint)[:2] == (kind, nullable)


def test_a_default_that_no_field_can_show_is_left_to_itself(runtime: Runtime) -> None:
    inputs = {one.name: one for one in form_of(runtime, EVERYTHING).inputs}
    assert inputs["options"].initial == ""
    assert inputs["size"].initial == '"M"'
    assert inputs["ratio"].initial == "0.5"
    assert inputs["password"].kind == "secret"


# What a filled form means ---------------------------------------------------------------------------------------


def test_values_of_every_kind_arrive_exactly(operator: Browser, runtime: Runtime) -> None:
    answer = send(
        operator,
        EVERYTHING,
        **FULL,
        **{
            "p.ratio": "1e-3",
            "p.day": "2026-02-28",
            "p.moment": "2026-11-22T12:00:01",
            "p.moment.zone": "utc",
            "p.flag": "false",
            "p.size": '"3XL"',
            "p.tags": "ä\r\n\r\n two words \r\n",
            "p.options": '{"deep": [1, {"x": null}]}',
            "p.more": "1\n2",
            "p.extra": '{"more": "less", "n": 1}',
        },
    )
    (row,) = stored(runtime)
    assert answer.location == f"/jobs/{row['id']}"
    assert json.loads(row["params"]) == {
        "text": "two\nlines ",
        "number": 12345678901234567890123,
        "amount": "0.10",
        "password": "hunter22",
        "anything": "plain",
        "ratio": 0.001,
        "day": "2026-02-28",
        "moment": "2026-11-22T12:00:01Z",
        "flag": False,
        "size": "3XL",
        "tags": ["ä", "two words"],
        "options": {"deep": [1, {"x": None}]},
        "more": [1, 2],
        "extra": {"more": "less", "n": 1},
    }
    assert json.loads(row["secret_params"]) == ["password"]
    assert row["created_by"].startswith("operator")


def test_what_is_left_empty_is_left_to_its_default(operator: Browser, runtime: Runtime) -> None:
    send(operator, EVERYTHING, **FULL)
    (row,) = stored(runtime)
    assert set(json.loads(row["params"])) == {"text", "number", "amount", "password", "anything"}


@pytest.mark.parametrize(
    ("sent", "values"),
    [
        ({"p.note": "", "p.note.null": "1"}, {}),
        ({"p.note": ""}, {"note": ""}),
        ({"p.note": "words", "p.note.null": "1"}, {"note": "words"}),
        ({"p.note": " ", "p.note.null": "1"}, {}),
    ],
)
def test_none_is_told_from_an_empty_text(runtime: Runtime, sent: dict[str, str], values: dict[str, Any]) -> None:
    found = filled.read(form_of(runtime, REPORT), {"p.month": "2026-10-01", **sent})
    assert found.values == {"month": "2026-10-01", **values}
    assert not found.errors


@pytest.mark.parametrize(
    ("read_as", "text", "value"),
    [("text", "[1, 2]", "[1, 2]"), ("json", "[1, 2]", [1, 2]), ("json", '"x"', "x"), ("json", "null", None)],
)
def test_a_parameter_without_a_hint_is_text_or_json_as_one_says(
    runtime: Runtime, read_as: str, text: str, value: Any
) -> None:
    found = filled.read(form_of(runtime, EVERYTHING), FULL | {"p.anything": text, "p.anything.as": read_as})
    assert found.values["anything"] == value


def test_parameters_can_be_given_as_json_instead(operator: Browser, runtime: Runtime) -> None:
    assert 'name="p"' in operator.get(f"/jobs/new?target={REPORT}&raw=1").text
    send(operator, REPORT, raw="1", p='{"month": "2026-10-01", "note": ""}')
    assert json.loads(stored(runtime)[0]["params"]) == {"month": "2026-10-01", "note": ""}


def test_options_are_stored_as_chosen(operator: Browser, runtime: Runtime) -> None:
    send(
        operator,
        REFRESH,
        **{
            "o.delay": "3600.5",
            "o.priority": "critical",
            "o.retries": "7",
            "o.backoff": "5 fixed",
            "o.timeout": "60",
            "o.queue": "slow",
            "o.unique_key": "prices",
        },
    )
    (row,) = stored(runtime)
    assert row["status"] == "scheduled"
    assert (row["run_at"] - row["created_at"]).total_seconds() == pytest.approx(3600.5, abs=5)
    expected = {
        "priority": 20, "retries": 7, "backoff": 5.0, "backoff_fixed": True, "timeout": 60.0, "queue": "slow",
        "unique_key": "prices",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected


def test_a_job_from_the_overview_leads_back_there(operator: Browser, runtime: Runtime) -> None:
    assert f'value="{REFRESH}"' in operator.get("/").text
    answer = operator.post("/jobs/new", page="/", target=REFRESH, back="overview", nonce="0123456789abcdef")
    assert (answer.status_code, answer.location) == (303, "/")
    html = operator.get("/").text
    (row,) = stored(runtime)
    assert f"Job {row['id']} is on its way: Catalogue.refresh." in html
    assert f'<a href="/jobs/{row["id"]}">Open job {row["id"]}</a>' in html


def test_a_form_that_is_sent_twice_makes_one_job(operator: Browser, runtime: Runtime) -> None:
    html = operator.get(f"/jobs/new?target={REFRESH}").text
    nonce = re.search(r'name="nonce" value="([0-9a-f]{16})"', html)
    assert nonce is not None
    answers = [send(operator, REFRESH, nonce=nonce[1]) for _ in range(2)]
    (row,) = stored(runtime)
    assert [answer.location for answer in answers] == [f"/jobs/{row['id']}"] * 2
    page = operator.get(f"/jobs/{row['id']}").text
    assert "no second one was made" in page
    assert "Unique key" not in page  # it is no wish of anybody's


# What is wrong with a bad one -----------------------------------------------------------------------------------


def errors(html: str) -> dict[str, str]:
    """Return what the summary says, by the id of the field that it links."""
    summary = html.partition('class="problems"')[2].partition("</div>")[0]
    return dict(re.findall(r'<a href="#([^"]+)">([^<]+)</a>', summary))


def test_everything_that_is_wrong_is_told_at_once_beside_its_field(operator: Browser, runtime: Runtime) -> None:
    answer = send(
        operator,
        REPORT,
        **{
            "p.month": "",
            "p.copies": "<many>",
            "p.kind": '"none"',
            "o.retries": "lots",
            "o.delay": "-1",
            "o.queue": "a b",
        },
    )
    assert answer.status_code == 422
    assert "<title>Error:" in answer.text
    found = errors(answer.text)
    assert list(found) == ["p-month", "p-kind", "p-copies", "o-delay", "o-retries", "o-queue"]
    assert found["p-month"] == "Enter month."
    assert "whole number" in found["p-copies"]
    for field_id, words in found.items():
        assert f'id="{field_id}"' in answer.text
        assert answer.text.count(words) == 2
    assert 'value="&lt;many&gt;"' in answer.text
    assert '<details class="options" open>' in answer.text
    assert stored(runtime) == []


@pytest.mark.parametrize(
    ("field_name", "text", "words"),
    [
        ("p.number", "1.5", "must be a whole number"),
        ("p.number", "0x10", "must be a whole number"),
        ("p.number", "٣", "must be a whole number"),
        ("p.ratio", "nan", "must be a number"),
        ("p.ratio", "1e99999", "must be a number"),
        ("p.amount", "much", "does not fit its hint Decimal"),
        ("p.day", "2026-02-30", "does not fit its hint"),
        ("p.flag", "maybe", "must be one of the choices"),
        ("p.size", "M", "must be one of the choices"),
        ("p.options", "{'a': 1}", "This is not JSON"),
        ("p.options", '{"a": 1, "a": 2}', "a"),
        ("p.options", "[" * 100, "deep"),
        ("p.options", "[1]", "does not fit its hint"),
        ("p.extra", "[1]", "must be a JSON object"),
        ("p.more", "one", "does not fit its hint"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_words(
    operator: Browser, runtime: Runtime, field_name: str, text: str, words: str
) -> None:
    answer = send(operator, EVERYTHING, **FULL | {field_name: text})
    assert answer.status_code == 422
    found = errors(answer.text)
    assert list(found) == [field_name.replace(".", "-")]
    assert words in found[field_name.replace(".", "-")]
    assert stored(runtime) == []


def test_what_was_typed_is_kept_but_for_secrets(operator: Browser) -> None:
    html = send(operator, EVERYTHING, **FULL | {"p.number": "x", "p.tags": "a\nb", "p.flag": "true"}).text
    assert "hunter22" not in html
    assert "Enter it again." in html
    assert ">\ntwo\r\nlines </textarea>" in html.replace("&#13;", "\r") or ">\ntwo\nlines </textarea>" in html
    assert ">\na\nb</textarea>" in html
    assert 'value="true" checked' in html
    raw = send(operator, EVERYTHING, raw="1", p='{"password": "hunter22"}').text
    assert "hunter22" not in raw


def test_json_that_is_none_is_refused_with_its_place(operator: Browser) -> None:
    html = send(operator, REPORT, raw="1", p='{"month": }').text
    assert "line 1, column 11" in errors(html)["p"]
    assert "must be a JSON object" in errors(send(operator, REPORT, raw="1", p="[1]").text)["p"]


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        f"{SHOP}.Reports.secret",
        f"{SHOP}.Reports.__init__",
        "build",
        ".",
        "x" * 5000,
        "<script>",
        f"{SHOP}.Nothing.x",
    ],
)
def test_what_is_not_allowed_is_refused_and_the_allowed_is_shown(
    operator: Browser, runtime: Runtime, target: str
) -> None:
    for answer in (
        operator.get("/jobs/new", query_string={"target": target}),
        operator.post("/jobs/new", page="/jobs/new", target=target),
    ):
        assert answer.status_code == 403
        assert "There is a problem" in answer.text
        assert "Catalogue" in answer.text
        assert "<script>" not in answer.text
    assert stored(runtime) == []
    log = (runtime.settings.log_dir / "background_jobs_errors.log").read_text(encoding="utf-8")
    assert log.count("Job rejected") == 1


def test_a_field_that_the_form_does_not_have_is_refused(operator: Browser, runtime: Runtime) -> None:
    for name in ("p.other", "o.status", "created_by", "session"):
        answer = send(operator, REFRESH, **{name: "x"})
        assert answer.status_code == 400
        assert name in answer.text
    assert stored(runtime) == []


def test_a_full_queue_is_told(
    make_web: Callable[..., Flask], browser: Callable[..., Browser], runtime: Runtime
) -> None:
    with runtime.database.write() as connection:
        connection.execute(JOBS.delete())
    object.__setattr__(runtime.settings, "max_queued", 1)
    operator = browser("operator")
    assert send(operator, REFRESH).status_code == 303
    answer = send(operator, REFRESH)
    assert answer.status_code == 429
    assert len(stored(runtime)) == 1


def test_a_class_that_cannot_be_imported_is_named(
    make_web: Callable[..., Flask], browser: Callable[..., Browser]
) -> None:
    from tests.web.conftest import signed_in

    app = make_web(allowed_jobs={**ALLOWED, "tests.browser.nowhere.Nothing": ["run"]})
    html = signed_in(app, "operator").get("/jobs/new").text
    assert "Allowed, but not usable" in html
    assert "tests.browser.nowhere.Nothing" in html


def test_nothing_allowed_shows_how_to_allow(make_web: Callable[..., Flask]) -> None:
    from tests.web.conftest import signed_in

    operator = signed_in(make_web(allowed_jobs={}), "operator")
    assert "No method is allowed to run" in operator.get("/jobs/new").text
    assert operator.get("/").status_code == 200


# Docstrings -----------------------------------------------------------------------------------------------------


class Styles:
    def plain(self, one: int, two: int) -> None:
        """Do it.

        one: the first,
            over two lines.
        two: the second.

        And more.
        """

    def google(self, one: int, two: int) -> None:
        """Do it.

        Args:
            one (int): the first.
            two: the second.
        """

    def sphinx(self, one: int, two: int) -> None:
        """Do it.

        :param one: the first.
        :param int two: the second.
        """

    def none(self, one: int) -> None: ...


@pytest.mark.parametrize("style", ["plain", "google", "sphinx"])
def test_a_docstring_tells_of_single_parameters(make_web: Callable[..., Flask], style: str) -> None:
    from bgapp.runtime import of

    runtime = of(make_web(allowed_jobs=["tests.web.test_forms.Styles"]))
    found = form_of(runtime, f"tests.web.test_forms.Styles.{style}")
    assert found.summary == "Do it."
    assert [one.about.partition(",")[0].rstrip(".") for one in found.inputs] == ["the first", "the second"]
    assert found.more == ("And more." if style == "plain" else "")
    assert form_of(runtime, "tests.web.test_forms.Styles.none").summary == ""


def test_an_input_knows_whether_an_empty_field_means_something() -> None:
    one = Input("x", "text", "str", "", True, False, None, "", False)
    assert not one.asks_null
    assert Input("x", "text", "str | None", "", False, True, "None", "", True).asks_null
    assert not Input("x", "date", "date | None", "", False, True, "None", "", True).asks_null
    assert Input("x", "integer", "int | None", "", False, True, "5", "5", False).asks_null

"""Bad calls: B1-B16, B57 and B58, from outside. Each refusal names its argument, stores nothing, writes one line.

The pieces have unit tests of their own; here is what a view and a command see.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from bgapp import queries, run_background_job
from bgapp.errors import (
    BadOption,
    BadParameters,
    ClassNotAllowed,
    ClassUnknown,
    DatabaseBusy,
    JobRejected,
    MethodNotAllowed,
    MethodUnknown,
    UnknownJob,
)
from bgapp.runtime import of
from tests.conftest import ROOT
from tests.requirements.shopjobs import Cart, NeedsPlace, Till
from tests.requirements.support import SHOP, ask, refused, refused_command, rows
from tests.site import Site

LIMIT = 64 * 1024


class Sly(str):
    """Text that says it equals everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(f"{SHOP}.Till")

    def __str__(self) -> str:
        return f"{SHOP}.Till"


class Deep:
    """An object that no database stores, and whose text is a trap."""

    def __repr__(self) -> str:
        raise RuntimeError("do not look at me")


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def words() -> Iterator[str]:
    yield "word"


# What may be asked for -------------------------------------------------------------------------------------------

CLASSES = {
    "a class that is not listed": dict,
    "an instance": Till(),
    "an unlisted name": "Unlisted",
    "another spelling": f"{SHOP}:Till",
    "None": None,
    "a number": 5,
    "empty": "",
    "two dots": f"{SHOP}..Till",
    "a module": "os",
    "builtins": "builtins",
    "something in a listed module": f"{SHOP}.RAN",
    "case": "till",
    "a space": " Till",
    "NUL": "Till\0",
    "a newline": "Till\n",
    "very long": "T" * 10_000,
    "Cyrillic": "Тill",
    "full width": "Ｔill",
    "sly text": Sly("os"),
    "an object with a broken repr": Deep(),
}


@pytest.mark.parametrize("job_class", CLASSES.values(), ids=CLASSES.keys())
def test_b1_only_what_is_listed_may_run(quiet: Site, job_class: object) -> None:
    message = refused(quiet, ClassNotAllowed, "job_class", job_class, "where")
    assert "T" * 81 not in message


@pytest.mark.parametrize("job_class", [Till, f"{SHOP}.Till", "Till"])
def test_b1_a_class_its_path_and_its_bare_name_may(quiet: Site, job_class: object) -> None:
    assert ask(quiet, job_class, "where").created


METHODS: dict[str, tuple[type[JobRejected], object]] = {
    "empty": (MethodUnknown, ""),
    "private": (MethodUnknown, "_x"),
    "dunder": (MethodNotAllowed, "__init__"),
    "the class itself": (MethodNotAllowed, "__class__"),
    "a path": (MethodUnknown, "where.pid"),
    "a call": (MethodUnknown, "where()"),
    "a listed property": (MethodNotAllowed, "balance"),
    "an attribute": (MethodNotAllowed, "label"),
    "a class": (MethodNotAllowed, "Drawer"),
    "a method of a class inside": (MethodUnknown, "Drawer.open"),
    "not listed": (MethodNotAllowed, "refund"),
    "None": (MethodUnknown, None),
    "the function": (MethodUnknown, Till.where),
    "NUL": (MethodUnknown, "where\0"),
    "very long": (MethodUnknown, "w" * 10_000),
    "sly text": (MethodUnknown, Sly("whereabouts")),
}


@pytest.mark.parametrize(("kind", "method"), METHODS.values(), ids=METHODS.keys())
def test_b2_only_listed_methods_may_run(quiet: Site, kind: type[JobRejected], method: object) -> None:
    message = refused(quiet, kind, "method", Till, method)
    assert "w" * 81 not in message


def test_b2_an_inherited_method_must_be_listed_for_the_class_itself(quiet: Site) -> None:
    refused(quiet, MethodNotAllowed, "method", Cart, "where")
    assert ask(quiet, Cart, "fill").created


# Parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params", ["word", b"word", 5, True, {"word"}, words(), Deep()], ids=lambda one: type(one).__name__
)
def test_b3_params_are_a_list_or_a_dict(quiet: Site, params: object) -> None:
    refused(quiet, BadParameters, "params", Till, "keep", params)


@pytest.mark.parametrize("params", [None, [], (), {}, ["a", "b"], ("a", "b"), {"words": ["a", "b"]}])
def test_b3_lists_tuples_dicts_and_nothing_are_taken(quiet: Site, params: Any) -> None:
    expected = {"words": ["a", "b"]} if params else {}
    assert quiet.job(ask(quiet, Till, "keep", params))["params"] == expected


VALUES = {
    "b4-nan": float("nan"),
    "b4-infinity": float("inf"),
    "b4-minus-infinity": {"deep": [float("-inf")]},
    "b5-4301-digits": 10**4300,
    "b6-33-levels": deep(33),
    "b6-100000-levels": deep(100_000),
    "b7-lone-surrogate": "\ud800",
    "b7-nul": "a\0b",
    "b7-surrogate-as-a-key": {"\udfff": 1},
    "b9-key-1": {1: "one"},
    "b9-key-none": {"deep": {None: 1}},
    "b9-tuple-inside": (1, 2),
    "b9-set": {1, 2},
    "b9-bytes": b"bytes",
    "b9-decimal-without-a-hint": Decimal("1.5"),
    "b9-date-without-a-hint": date(2026, 10, 1),
    "b9-object": Deep(),
    "b10-a-byte-too-many": "x" * (LIMIT - len('{"value":""}') + 1),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_b4_b5_b6_b7_b9_and_b10_values_that_are_no_json(quiet: Site, value: object) -> None:
    message = refused(quiet, BadParameters, "params", Till, "anything", [value])
    assert message.startswith("params: ")


KEPT = {
    "b5-2-to-the-53": 2**53 + 1,
    "b5-2-to-the-63": 2**63,
    "b5-4300-digits": -(10**4300 - 1),
    "b6-31-levels": deep(31),
    "b7-emoji-and-marks": "\U0001f680 \u202e\u200b\x1b",
    "b10-64-kib": "x" * (LIMIT - len('{"value":""}')),
    "b10-a-thousand": list(range(1000)),
}


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT.keys())
def test_b5_b6_b7_and_b10_values_that_are_kept_exactly(quiet: Site, value: Any) -> None:
    job = ask(quiet, Till, "anything", [value])
    with quiet.runtime.database.read() as connection:
        row = queries.job(connection, job.id)
    assert row is not None
    assert queries.stored(row.params) == {"value": value}


JSON_TEXTS = {
    "b4-nan": '{"value": NaN}',
    "b4-infinity": '{"value": -Infinity}',
    "b4-1e400": '{"value": 1e400}',
    "b5-5000-digits": '{"value": ' + "9" * 5000 + "}",
    "b6-100000-levels": '{"value": ' + "[" * 100_000,
    "b7-nul": '{"value": "\\u0000"}',
    "b7-lone-surrogate": '{"value": "\\ud800"}',
    "b8-twice": '{"value": 1, "value": 2}',
    "b8-twice-inside": '{"value": {"a": 1, "a": 2}}',
    "not-an-object": "[1]",
    "not-json": "{value: 1}",
    "more-behind": '{"value": 1} x',
    "empty": "",
}


@pytest.mark.parametrize("given", JSON_TEXTS.values(), ids=JSON_TEXTS.keys())
def test_b4_b5_b6_b7_and_b8_json_of_a_command(quiet: Site, given: str) -> None:
    message = refused_command(quiet, "Till", "anything", "--kwargs", given, kind="bad_parameters", argument="params")
    assert len(message) < 400


def test_b9_objects_are_taken_where_the_hint_names_them(living: Site) -> None:
    at = datetime(2026, 10, 1, 12, tzinfo=UTC)
    job = ask(living, Till, "sell", ["bread", Decimal("2.50"), date(2026, 10, 1), at])
    assert job.refresh()
    assert living.job(job)["params"] == {
        "item": "bread",
        "price": "2.50",
        "on": "2026-10-01",
        "at": "2026-10-01T12:00:00Z",
    }
    result = living.wait(job)["result"]
    assert result.startswith("bread Decimal('2.50') datetime.date(2026, 10, 1) datetime.datetime(2026, 10, 1, 12, 0")


# Options -----------------------------------------------------------------------------------------------------------

OPTIONS = {
    **{f"b11-retries-{value!r}": {"retries": value} for value in (-1, 1.5, "3", True, 101, 2**63, float("nan"))},
    **{
        f"b12-delay-{value!r}": {"delay": value}
        for value in (
            *(-1, float("nan"), float("inf"), 1e12, "5", True, 10**400),
            *(timedelta(days=366), timedelta(seconds=-1), datetime(2999, 1, 1), date(2999, 1, 1)),  # noqa: DTZ001
            datetime(2999, 1, 1, tzinfo=UTC),
        )
    },
    **{f"b13-priority-{value!r}": {"priority": value} for value in (101, -101, 1.5, "urgent", "10", "", True)},
    **{f"queue-{value!r}": {"queue": value} for value in ("", "a b", "q" * 65, 5, "a\0")},
    **{f"timeout-{value!r}": {"timeout": value} for value in (0, -1, float("nan"), "5", True, 1e12)},
    **{f"backoff-{value!r}": {"backoff": value} for value in (-1, 3601, "5 minutes", True, float("inf"))},
    **{f"unique_key-{value!r}": {"unique_key": value} for value in ("", "k" * 256, 5, "a\nb", "\ud800")},
}


@pytest.mark.parametrize(
    "options", OPTIONS.values(), ids=[name.encode("ascii", "replace").decode()[:40] for name in OPTIONS]
)
def test_b11_b12_and_b13_options_out_of_range(quiet: Site, options: dict[str, Any]) -> None:
    [argument] = options
    message = refused(quiet, BadOption, argument, Till, "where", **options)
    assert message.startswith(argument)
    assert "must be" in message


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ({}, {"retries": 3, "priority": 0, "queue": "default", "status": "pending"}),
        ({"retries": 0}, {"retries": 0}),
        ({"retries": 100}, {"retries": 100}),
        ({"retries": None}, {"retries": 3}),
        ({"delay": timedelta(days=365)}, {"status": "scheduled"}),
        ({"delay": datetime(2001, 1, 1, tzinfo=UTC)}, {"status": "pending"}),
        ({"priority": -100}, {"priority": -100}),
        ({"priority": "critical"}, {"priority": 20}),
        ({"queue": "q" * 64}, {"queue": "q" * 64}),
    ],
)
def test_b11_b12_and_b13_options_within_range(quiet: Site, options: dict[str, Any], stored: dict[str, Any]) -> None:
    job = quiet.job(ask(quiet, Till, "where", **options))
    assert {name: job[name] for name in stored} == stored


@pytest.mark.parametrize(
    ("option", "value", "argument"),
    [
        *[("--retries", value, "retries") for value in ("-1", "101", "1.5", "three")],
        *[("--delay", value, "delay") for value in ("-1", "nan", "1e12", "soon")],
        *[("--priority", value, "priority") for value in ("101", "urgent", "1.5")],
        *[("--timeout", value, "timeout") for value in ("0", "nan")],
        *[("--backoff", value, "backoff") for value in ("5 minutes", "-1")],
        *[("--queue", value, "queue") for value in ("a b", "")],
    ],
)
def test_b11_b12_and_b13_options_of_a_command(quiet: Site, option: str, value: str, argument: str) -> None:
    before = rows(quiet)
    done = quiet.app.test_cli_runner().invoke(args=["run-job", "Till", "where", option, value])
    assert done.exit_code == 2, done.output
    assert argument in done.output
    assert "Traceback" not in done.output
    assert rows(quiet) == before


def test_b14_inside_an_open_transaction_the_caller_is_told_what_to_do(make_app: Callable[..., Flask]) -> None:
    app = make_app(allowed_jobs=[f"{SHOP}.Till"])
    of(app).ready()
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        session.execute(text("CREATE TABLE orders (n INTEGER)"))
        session.execute(text("INSERT INTO orders VALUES (1)"))
        with pytest.raises(DatabaseBusy, match=r"pass session=db\.session, or commit first"):
            run_background_job(Till, "where")
        job = run_background_job(Till, "where", session=session)
        session.rollback()
        with pytest.raises(UnknownJob):
            job.refresh()
        kept = run_background_job(Till, "where", session=session)
        session.commit()
        assert kept.refresh().status == "pending"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # the child only calls and leaves
def test_b14_a_forked_process_has_connections_of_its_own(quiet: Site) -> None:
    first = ask(quiet, Till, "where")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if ask(quiet, Till, "where").id > first.id else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ask(quiet, Till, "where").id == first.id + 2


@pytest.mark.parametrize("name", ["retry", "priorty", "job", "created_by", "params_file"])
def test_b15_an_unknown_keyword_is_an_error_and_not_passed_over(quiet: Site, name: str) -> None:
    before = rows(quiet)
    with pytest.raises(TypeError, match=name):
        ask(quiet, Till, "where", **{name: 1})
    assert rows(quiet) == before


@pytest.mark.parametrize("words", [["same"], ["another"]])
def test_b16_a_unique_key_gives_the_job_that_has_it(quiet: Site, words: list[str]) -> None:
    key = f"order-{words[0]}"
    first = ask(quiet, Till, "keep", ["same"], delay=900, unique_key=key)
    before = rows(quiet)
    again = ask(quiet, Till, "keep", words, delay=900, unique_key=key)
    assert (again.id, again.created, rows(quiet)) == (first.id, False, before)
    with quiet.app.app_context():
        first.cancel("test")
    assert ask(quiet, Till, "keep", words, delay=900, unique_key=key).id != first.id


# Methods and imports -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "params", "result"), [("later", [3], 3), ("add", [1, 2], 3), ("name", [], "Till")])
def test_b57_async_static_and_class_methods_run(living: Site, method: str, params: list[Any], result: Any) -> None:
    assert living.wait(ask(living, Till, method, params))["result"] == result


@pytest.mark.parametrize(
    ("job_class", "method", "says"),
    [
        (Till, "steps", "generator function"),
        (Till, "ticks", "async generator"),
        (NeedsPlace, "work", "without arguments"),
    ],
)
def test_b57_what_cannot_be_a_job_is_refused_with_the_reason(
    quiet: Site, job_class: type, method: str, says: str
) -> None:
    assert says in refused(quiet, MethodNotAllowed, "method", job_class, method)


@pytest.mark.parametrize(
    ("method", "params", "argument"),
    [
        ("add", [1], "params.second"),
        ("add", [1, 2, 3], "params"),
        ("add", {"first": 1, "third": 3}, "params"),
        ("where", ["x"], "params"),
        ("sell", ["bread", "cheap", "2026-10-01"], "params.price"),
        ("sell", {"item": "bread", "price": 1, "on": "yesterday"}, "params.on"),
    ],
)
def test_b57_parameters_that_do_not_fit_are_named(quiet: Site, method: str, params: Any, argument: str) -> None:
    message = refused(quiet, BadParameters, argument, Till, method, params)
    assert argument.removeprefix("params.") in message


MODULES = {
    "raises": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "leaves": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "needs_more": ("import no_such_module_here", "ModuleNotFoundError"),
    "no_python": ("class Job", "SyntaxError"),
    "no_such_class": ("x = 1", "AttributeError"),
    "no_class": ("Job = 5", "it is no class"),
}


@pytest.mark.parametrize("case", MODULES)
def test_b58_an_import_that_fails_is_a_refusal_and_harms_nothing(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    code, says = MODULES[case]
    name = f"bgapp_test_{case}"
    file = tmp_path / f"{name}.py"
    file.write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    app = make_app(allowed_jobs={f"{name}.Job": ["run"]})
    with app.app_context():
        with pytest.raises(ClassUnknown) as caught:
            run_background_job("Job", "run")
        assert says in str(caught.value)
        assert caught.value.argument == "job_class"
        errors = of(app).settings.log_dir / "background_jobs_errors.log"
        assert errors.read_text().count("\n") == 1
        monkeypatch.delitem(sys.modules, name, raising=False)
        file.write_text("class Job:\n    def run(self) -> None: ...\n")
        importlib.invalidate_caches()
        assert run_background_job("Job", "run").created, "a mended module serves without a restart"
    sys.modules.pop(name, None)


def test_b58_what_an_import_prints_does_not_spoil_the_json_of_a_command(tmp_path: Path) -> None:
    code = "print('hello from the import')\n\n\nclass Job:\n    def run(self) -> int:\n        return 1\n"
    (tmp_path / "noisy.py").write_text(code)
    environment = {
        "BGAPP_INSTANCE": str(tmp_path / "instance"),
        "BGAPP_ALLOWED_JOBS": '{"noisy.Job": ["run"]}',
        "PYTHONPATH": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "run-job", "Job", "run", "--json"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "pending", "a module's own words would spoil the JSON"

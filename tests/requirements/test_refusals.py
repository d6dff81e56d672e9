"""What may not run: S9, S17, S27, S44, and the allow-list's shapes of S23, S30 and S44."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from bgapp import run_background_job
from bgapp.errors import ClassNotAllowed, ClassUnknown, MethodNotAllowed, MethodUnknown
from bgapp.runtime import of
from tests.requirements.shopjobs import Cart, Till
from tests.requirements.support import ERRORS, SHOP, refused, refused_command, refusing, runner
from tests.site import Site


def test_s9_names_are_cleaned_before_they_are_logged(quiet: Site) -> None:
    nasty = "Evil | Class: Good\nJob completed successfully | \x1b[31m../../etc; rm -rf /" + "x" * 500
    before = quiet.log(ERRORS)
    says = refused(quiet, ClassNotAllowed, "job_class", nasty, "execute", [])
    line = quiet.log(ERRORS).removeprefix(before)
    name = line.partition("Class: ")[2].partition(" | ")[0]
    assert len(name) == 80
    assert set(name) <= set("EvilClassGoodJobcompletedsuccessfully31m....etcrmrfx?")
    assert line.count(" | Class: ") == 1
    assert "\x1b" not in line + says
    assert "x" * 100 not in line + says


def test_s9_and_s46_every_attempt_with_an_unapproved_class_is_in_the_errors_file(quiet: Site) -> None:
    before = quiet.log(ERRORS)
    for name in ("os", "builtins.eval", "NoSuchJob"):
        refused(quiet, ClassNotAllowed, "job_class", name, "execute", ["x"])
    lines = quiet.log(ERRORS).removeprefix(before).splitlines()
    assert [line.split(" | ")[1] for line in lines] == ["Class: os", "Class: builtins.eval", "Class: NoSuchJob"]


def test_s17_four_distinct_refusals_are_told_to_the_caller(quiet: Site) -> None:
    said = [
        refused(quiet, ClassNotAllowed, "job_class", "shop.jobs.Unlisted", "work"),
        refused(quiet, ClassUnknown, "job_class", f"{SHOP}.Gone", "work"),
        refused(quiet, MethodUnknown, "method", Till, "wherever"),
        refused(quiet, MethodNotAllowed, "method", Till, "refund"),
    ]
    assert len(set(said)) == 4
    assert "is not in the allow-list" in said[0]
    assert "importing it failed" in said[1]
    assert "has no method 'wherever'; did you mean where?" in said[2]
    assert "the method refund of" in said[3]
    assert "is not in the allow-list" in said[3]


@pytest.mark.parametrize(
    ("words", "kind", "argument"),
    [
        (["Unlisted", "work"], "class_not_allowed", "job_class"),
        (["Gone", "work"], "class_unknown", "job_class"),
        (["Till", "wherever"], "method_unknown", "method"),
        (["Till", "refund"], "method_not_allowed", "method"),
    ],
)
def test_s17_four_distinct_refusals_by_command(quiet: Site, words: list[str], kind: str, argument: str) -> None:
    refused_command(quiet, *words, kind=kind, argument=argument)


def test_s17_and_s28_the_script_says_why_in_a_line_without_a_traceback(quiet: Site) -> None:
    with refusing(quiet):
        done = runner(quiet, "Till", "refund")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "is not in the allow-list" in done.stderr


def test_s27_class_and_method_are_both_listed_by_name(quiet: Site) -> None:
    for method in ("refund", "__init__", "balance", "label", "Drawer", "Drawer.open", "where()", "_private"):
        with pytest.raises((MethodNotAllowed, MethodUnknown)), quiet.app.app_context():
            run_background_job(Till, method)
    refused(quiet, MethodNotAllowed, "method", Cart, "where")  # inherited, and not listed for this class


MakeApp = Callable[..., Flask]
SHAPES = {
    "s23-classes-with-their-methods": {f"{SHOP}.Till": ["where"]},
    "s30-allowed-methods": {f"{SHOP}.Till": {"allowed_methods": ["where"]}},
    "defaults-by-method": {f"{SHOP}.Till": {"methods": {"where": {"retries": 5, "backoff": "60 fixed"}}}},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_s23_s30_and_s44_every_shape_of_the_allow_list_means_the_same(make_app: MakeApp, shape: object) -> None:
    app = make_app(allowed_jobs=shape)
    with app.app_context():
        assert run_background_job("Till", "where")
        with pytest.raises(MethodNotAllowed):
            run_background_job("Till", "keep", ["x"])


def test_s44_a_plain_list_of_classes_allows_their_own_public_methods(make_app: MakeApp) -> None:
    app = make_app(allowed_jobs=[f"{SHOP}.Till", Cart])
    with app.app_context():
        assert run_background_job("Till", "refund")
        assert run_background_job(Cart, "fill")
        for job_class, method in ((Till, "_private"), (Till, "balance"), (Cart, "where")):
            with pytest.raises((MethodNotAllowed, MethodUnknown)):
                run_background_job(job_class, method)


def test_s30_defaults_for_a_method_and_paths_of_logs(make_app: MakeApp, tmp_path: Path) -> None:
    shape = {f"{SHOP}.Till": {"methods": {"where": {"retries": 5, "backoff": "60 fixed", "queue": "slow"}}}}
    app = make_app(allowed_jobs=shape, log_dir=str(tmp_path / "elsewhere"))
    with app.app_context():
        job = run_background_job("Till", "where").refresh()
        own = run_background_job("Till", "where", retries=1, queue="fast").refresh()
    assert (job._row.retries, job._row.backoff, job._row.backoff_fixed, job._row.queue) == (5, 60, True, "slow")
    assert (own._row.retries, own._row.queue) == (1, "fast")
    assert "Job pending" in (tmp_path / "elsewhere" / "background_jobs.log").read_text()
    assert of(app).settings.log_dir == tmp_path / "elsewhere"


def test_s44_the_list_is_checked_again_where_the_job_runs(make_site: Callable[..., Site]) -> None:
    site = make_site(allowed_jobs='{"tests.jobcode.Work": ["echo", "add"]}')
    job = site.enqueue("add", 1, 1, retries=3)
    site.environment["BGAPP_ALLOWED_JOBS"] = '{"tests.jobcode.Work": ["echo"]}'
    site.start_app()
    found = site.wait(job)
    assert (found["status"], found["reason"]) == ("failed", "not_allowed")
    assert "MethodNotAllowed" in found["error"]
    assert len(found["attempts"]) == 1, "and it is not tried again"

"""The sample host applications, served and used as their users would."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.examples.hosting import Host, Visitor
from tests.waiting import wait_for

RUN = ("-m", "flask", "--app", "app", "run", "--port", "{port}")


@pytest.fixture
def one_file(make_host: Callable[[str], Host]) -> Host:
    host = make_host("one_file")
    host.serve(*RUN)
    return host


@pytest.fixture
def shop(make_host: Callable[[str], Host]) -> Host:
    host = make_host("shop")
    host.flask("--app", "shop", "db", "upgrade")
    host.python(
        "from shop import create_app\n"
        "from shop.models import User, db\n"
        "with create_app().app_context():\n"
        "    db.session.add_all([User(name='ann', is_staff=True), User(name='bob')])\n"
        "    db.session.commit()\n"
    )
    host.serve("-m", "flask", "--app", "shop", "run", "--port", "{port}")
    return host


def completed(host: Host, *prefix: str) -> int:
    return sum(job["status"] == "completed" for job in host.jobs(*prefix))


def test_a_button_starts_a_job_and_returns_at_once(one_file: Host) -> None:
    visitor = Visitor(one_file)
    assert "Greet in the background" in visitor.get("/")[1]
    status, _, location = visitor.post("/greet")
    assert (status, location) == (303, "/")
    wait_for(lambda: completed(one_file, "--app", "app") == 1, "the greeting")


def test_the_link_of_the_requirements_dispatches_a_job(one_file: Host) -> None:
    assert Visitor(one_file).get("/test-background-job")[:2] == (200, "Background job dispatched!")
    [job] = one_file.jobs("--app", "app")
    assert (job["retries"], job["params"]) == (3, {"name": "Background Job", "times": 1})


def test_the_dashboard_stands_under_its_prefix(one_file: Host) -> None:
    status, page, _ = Visitor(one_file).get("/jobs/")
    assert status == 200
    assert "/jobs/jobs" in page


def test_an_order_and_its_job_are_one_transaction(shop: Host) -> None:
    visitor = Visitor(shop)
    assert visitor.post("/orders", item="a kettle")[0] == 303
    wait_for(lambda: "a kettle: receipt bgapp-" in visitor.get("/")[1], "the receipt")
    assert visitor.post("/orders", item="")[0] == 422
    assert len(shop.jobs("--app", "shop")) == 1, "the job of the order that was rolled back"


def test_the_shops_own_login_guards_the_dashboard(shop: Host) -> None:
    nobody, customer, staff = Visitor(shop), Visitor(shop), Visitor(shop)
    status, _, location = nobody.get("/staff/jobs/")
    assert status in (302, 303)
    assert location.startswith("/sign-in")
    customer.post("/sign-in", name="bob")
    assert customer.get("/staff/jobs/")[0] == 403
    staff.post("/sign-in", name="ann")
    assert staff.get("/staff/jobs/")[0] == 200


def test_the_shops_migrations_see_nothing_of_ours(shop: Host) -> None:
    Visitor(shop).post("/orders", item="a lamp")  # makes bgapp's tables
    shop.flask("--app", "shop", "db", "check")


def test_nothing_of_the_shop_is_overwritten(shop: Host) -> None:
    visitor = Visitor(shop)
    assert "The shop's own login" in visitor.get("/sign-in")[1]
    status, page, _ = visitor.get("/no-such-page")
    assert status == 404
    assert "bgapp" not in page

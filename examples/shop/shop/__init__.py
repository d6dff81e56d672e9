"""A small shop: an application as its own team would have written it, with bgapp added in three lines."""

from __future__ import annotations

import os

from flask import Flask, abort
from flask_login import current_user

from bgapp import BackgroundJobs, include_object, start
from shop import orders, people
from shop.models import User, db, login, migrate

jobs = BackgroundJobs(url_prefix="/staff/jobs")


def create_app(config: dict[str, object] | None = None) -> Flask:
    """Return the shop; bgapp uses its database, its login and its session."""
    app = Flask(__name__)
    app.config.from_mapping(
        SECRET_KEY=os.environ.get("SHOP_SECRET_KEY", "only-for-this-example-8d2b7a"),
        SQLALCHEMY_DATABASE_URI=os.environ.get("SHOP_DATABASE_URL", f"sqlite:///{app.instance_path}/shop.sqlite"),
        BGAPP_APP="shop:create_app()",
        BGAPP_ALLOWED_JOBS={"shop.jobs.Receipts": {"methods": {"send": {"retries": 5, "timeout": 60}}}},
    )
    app.config.update(config or {})
    os.makedirs(app.instance_path, exist_ok=True)
    db.init_app(app)
    migrate.init_app(app, db, include_object=include_object)  # or autogenerate would drop bgapp's tables
    login.init_app(app)
    app.register_blueprint(people.pages)
    app.register_blueprint(orders.pages)

    jobs.init_app(app, access=staff_only)  # 1: after the database
    start(app)  # 2: this application is served, so its clock may tick
    return app


def staff_only() -> str | None:
    """3: say who may see the dashboard, in the shop's own words."""
    if not current_user.is_authenticated:
        abort(login.unauthorized())  # the shop's own login page, and back here afterwards
    assert isinstance(current_user._get_current_object(), User)
    return "admin" if current_user.is_staff else None

"""The shop's own login. A name is enough here; a real shop asks for more."""

from __future__ import annotations

from flask import Blueprint, abort, redirect, request, url_for
from flask_login import login_user, logout_user

from shop.models import User, db

pages = Blueprint("people", __name__)


@pages.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> object:
    """Ask for a name, and take it."""
    if request.method == "POST":
        user = db.session.execute(db.select(User).filter_by(name=request.form["name"])).scalar_one_or_none()
        login_user(user or abort(403))
        return redirect(url_for("orders.index"), 303)
    return """<!doctype html><html lang="en"><title>Sign in</title><h1>The shop's own login</h1>
    <form method="post"><label>Name <input name="name"></label><button>Sign in</button></form>"""


@pages.post("/sign-out")
def sign_out() -> object:
    """End the shop's session."""
    logout_user()
    return redirect(url_for("orders.index"), 303)

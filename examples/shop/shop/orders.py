"""Buying something: the order and its job are one transaction."""

from __future__ import annotations

from flask import Blueprint, redirect, request, url_for
from markupsafe import escape

from bgapp import run_background_job
from shop.jobs import Receipts
from shop.models import Order, db

pages = Blueprint("orders", __name__)


@pages.get("/")
def index() -> str:
    """Show every order and its receipt."""
    rows = db.session.execute(db.select(Order).order_by(Order.id)).scalars()
    lines = "".join(f"<li>{escape(order.item)}: {escape(order.receipt or 'receipt on its way')}</li>" for order in rows)
    return f"""<!doctype html><html lang="en"><title>Shop</title><h1>Orders</h1><ul>{lines}</ul>
    <form method="post" action="/orders"><label>Item <input name="item"></label><button>Buy</button></form>"""


@pages.post("/orders")
def buy() -> object:
    """Store an order together with the job that sends its receipt: both appear, or neither does."""
    order = Order(item=request.form["item"])
    db.session.add(order)
    db.session.flush()  # gives it its id
    run_background_job(Receipts, "send", [order.id], session=db.session)
    if not order.item:
        db.session.rollback()  # and with it the job
        return "An order needs an item.", 422
    db.session.commit()
    return redirect(url_for("orders.index"), 303)

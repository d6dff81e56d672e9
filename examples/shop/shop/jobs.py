"""What the shop does in the background."""

from __future__ import annotations

from bgapp import current_job
from shop.models import Order, db


class Receipts:
    """Receipts for orders."""

    def send(self, order_id: int) -> str:
        """Write the receipt of one order.

        Safe to run again: a receipt that was written stays as it is.
        """
        order = db.session.get(Order, order_id)
        if order is None:
            raise LookupError(f"there is no order {order_id}")
        if order.receipt is None:
            order.receipt = f"receipt {current_job.idempotency_key}"
            db.session.commit()
        print(f"sent {order.receipt} for {order.item}")
        return order.receipt

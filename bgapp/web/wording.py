"""Words for people: what statuses, reasons and endings mean, and the icon of each status."""

from __future__ import annotations

from bgapp.models import Reason, Status

ICONS = {
    Status.PENDING.value: "circle",
    Status.SCHEDULED.value: "clock-3",
    Status.RUNNING.value: "play",
    Status.COMPLETED.value: "circle-check",
    Status.FAILED.value: "octagon-x",
    Status.CANCELLED.value: "ban",
    "retrying": "rotate-ccw",
    "late": "triangle-alert",
}

MEANINGS = {
    Status.PENDING.value: "due, waiting for a runner",
    Status.SCHEDULED.value: "waiting for their time",
    Status.RUNNING.value: "at work now",
    Status.COMPLETED.value: "the method returned",
    Status.FAILED.value: "no try is left",
    Status.CANCELLED.value: "stopped on request",
}

REASONS = {
    Reason.ERROR.value: "The method raised an error.",
    Reason.TIMEOUT.value: "The time limit passed.",
    Reason.LOST.value: "Its process, or the runner that watched it, vanished.",
    Reason.POISON.value: "Three attempts in a row were lost, so it is not tried again.",
    Reason.NOT_ALLOWED.value: "The allow-list no longer names this method.",
    Reason.NO_RESULT.value: "The process ended by itself before the method returned.",
    Reason.NOT_STARTED.value: "The method was never entered; this used no retry.",
    Reason.LIMIT.value: "Its CPU or memory limit was hit.",
    Reason.EXPIRED.value: "It waited longer than it was wanted.",
    Reason.CANCELLED.value: "It was stopped on request.",
}

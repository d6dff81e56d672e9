"""One attempt from its child's start to its end, in one poll loop: output, frames, news, wake-ups, deadlines.

No call in the loop waits for long, and no trouble of the database ends it: what cannot be written now is written
at the next turn.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from bgapp import clock, masking, system
from bgapp.errors import DatabaseUnavailable, Fenced
from bgapp.models import Reason
from bgapp.outcome import Facts, Frame, Outcome, judge
from bgapp.records import Claim
from bgapp.rescue import Entry
from bgapp.runner import frames
from bgapp.runner.child import Order
from bgapp.runner.children import Children, News
from bgapp.runner.oomkills import OomKills
from bgapp.runner.output import Sink

BEAT = 1.0  # seconds between two looks at the database
EXIT_TIME = 5.0  # seconds a child may take to leave once it reported its end
DRAIN = 0.2  # seconds of reading output after the child's end: whoever holds the pipe then is not the attempt
READ = 64 * 1024
LONGEST_MESSAGE = 200  # characters of what a job says of its progress


class Pulse(Protocol):
    """The attempt's link to the database."""

    @property
    def renew_every(self) -> float:
        """Seconds between two renewals of the lease."""

    @property
    def ours_until(self) -> float | None:
        """The monotonic moment at which the attempt must have ended unless the lease is renewed; None for never."""

    def cancel_requested(self) -> bool:
        """Return whether a cancel was stored. Raises Fenced, DatabaseUnavailable."""

    def renew(self, pid: int | None, progress: str | None) -> None:
        """Extend the lease. Raises Fenced, DatabaseUnavailable."""


@dataclass(frozen=True)
class Watch:
    """What a supervision needs beside the claim."""

    children: Children
    pulse: Pulse
    mailbox: system.Mailbox
    log: Sink
    kill_grace: float  # seconds
    secrets: frozenset[str]
    stop_now: Callable[[], bool]  # whether the runner was told to end its attempt
    entry: Callable[[], Entry]  # what the attempt's entry file says
    oom_kills: OomKills


def supervise(claimed: Claim, order: Order, watch: Watch) -> Outcome:
    """Run one attempt and return what became of it. Raises Fenced once its child has ended."""
    attempt = _Attempt(claimed, watch)
    try:
        attempt.start(order)
        attempt.watch_it()
    finally:
        attempt.close()
    if attempt.fenced:
        raise Fenced(f"attempt {claimed.attempt} of job {claimed.job} is no longer this runner's")
    return _masked(judge(_explained(attempt.facts, watch)), watch.secrets)


def _explained(facts: Facts, watch: Watch) -> Facts:
    """Ask what only an end without a frame makes worth asking."""
    if facts.frame is not None or facts.ended is None:
        return facts
    killed = facts.ended.signal == "SIGKILL" and facts.stopped_for is None
    return replace(facts, entered=watch.entry().entered, out_of_memory=watch.oom_kills.rose() if killed else None)


def _masked(outcome: Outcome, secrets: frozenset[str]) -> Outcome:
    if not secrets:
        return outcome

    def masked(text: str | None) -> str | None:
        return None if text is None else masking.mask_text(text, secrets)

    return replace(
        outcome,
        error=masked(outcome.error),
        traceback=masked(outcome.traceback),
        result=masked(outcome.result),
    )


class _Attempt:
    def __init__(self, claimed: Claim, watch: Watch) -> None:
        self._claim = claimed
        self._to = watch
        self._selector = selectors.DefaultSelector()
        self._unpacker: frames.Unpacker | None = frames.Unpacker()
        self._output: int | None = None
        self._frames: int | None = None
        self._over = False
        self._told: tuple[int | None, str | None] = (None, None)
        self._progress: str | None = None
        self._kill_at: float | None = None
        self._exit_by: float | None = None
        self.fenced = False
        self.facts = Facts(ended=None, timeout=claimed.timeout)
        started = clock.monotonic()
        self._limit_at = None if claimed.timeout is None else started + claimed.timeout
        self._beat_at = started + BEAT
        self._renew_at = started + watch.pulse.renew_every

    def start(self, order: Order) -> None:
        self.facts = replace(self.facts, limits=order.limits)
        self._to.oom_kills.look()
        output, output_end = os.pipe()
        frames_from, frames_end = os.pipe()
        self._output, self._frames = system.readable(output), system.readable(frames_from)
        os.set_blocking(self._output, False)
        os.set_blocking(self._frames, False)
        self._to.children.start(order, output_end, frames_end, self._to.pulse.ours_until)
        self._selector.register(self._output, selectors.EVENT_READ, self._read_output)
        self._selector.register(self._frames, selectors.EVENT_READ, self._read_frames)
        self._selector.register(self._to.children.fileno(), selectors.EVENT_READ, self._read_news)
        self._selector.register(self._to.mailbox.fileno(), selectors.EVENT_READ, self._read_mail)

    def watch_it(self) -> None:
        while not self._over:
            self._turn(self._next_deadline() - clock.monotonic())
            self._meet_deadlines(clock.monotonic())
        drained_by = clock.monotonic() + DRAIN
        while (self._output is not None or self._frames is not None) and clock.monotonic() < drained_by:
            self._turn(drained_by - clock.monotonic())

    def close(self) -> None:
        self._selector.close()
        for descriptor in (self._output, self._frames):
            if descriptor is not None:
                os.close(descriptor)

    def _turn(self, timeout: float) -> None:
        for key, _ in self._selector.select(max(0.0, timeout)):
            key.data()

    # What comes in ---------------------------------------------------------------------------------------------

    def _read(self, descriptor: int) -> bytes | None:
        """Return what came, None where nothing is there yet; at the end forget the descriptor and return b""."""
        try:
            data = os.read(descriptor, READ)
        except BlockingIOError:
            return None
        if not data:
            self._selector.unregister(descriptor)
            os.close(descriptor)
        return data

    def _read_output(self) -> None:
        assert self._output is not None
        data = self._read(self._output)
        if data == b"":
            self._output = None
        elif data:
            self._to.log.write(data)

    def _read_frames(self) -> None:
        assert self._frames is not None
        data = self._read(self._frames)
        if data == b"":
            self._frames = None
        elif data and self._unpacker is not None:
            try:
                for message in self._unpacker.feed(data):
                    self._take_frame(message)
            except frames.BadFrame:  # the job wrote there itself: what it says counts for nothing from here on
                self._unpacker = None

    def _take_frame(self, message: dict[str, object]) -> None:
        kind = message.get("kind")
        if kind == "progress" and self.facts.frame is None:
            text = _progress_text(message)
            self._progress = masking.mask_text(text, self._to.secrets) if self._to.secrets else text
        elif kind in ("result", "error", "refused") and self.facts.frame is None:
            frame = Frame(**_frame_words(message))
            self.facts = replace(self.facts, frame=frame, frame_before_stop=self.facts.stopped_for is None)
            self._exit_by = clock.monotonic() + EXIT_TIME

    def _read_news(self) -> None:
        for news in self._to.children.news():
            self._take_news(news)

    def _take_news(self, news: News) -> None:
        if news.kind == "started":
            self.facts = replace(self.facts, pid=news.pid)
        elif news.kind == "not_created":
            self.facts = replace(self.facts, not_created=news.error)
            self._over = True
        elif news.kind == "ended":
            self.facts = replace(self.facts, ended=news.ended, leftovers=news.leftovers, lease_over=news.lease_over)
            self._over = True
            if news.leftovers:
                self._note(f"{news.leftovers} processes that the job left behind were ended")
        elif news.kind == "stuck":
            self._note(f"processes {', '.join(map(str, news.pids))} do not end: they wait inside the kernel")
        elif news.kind == "lost":
            self._over = True

    def _note(self, text: str) -> None:
        self._to.log.write(f"--- bgapp: {text} ---\n".encode())

    def _read_mail(self) -> None:
        self._to.mailbox.drain()
        self._beat_at = clock.monotonic()

    # What falls due --------------------------------------------------------------------------------------------

    def _next_deadline(self) -> float:
        deadlines = (self._beat_at, self._limit_at, self._kill_at, self._exit_by)
        return min(one for one in deadlines if one is not None)

    def _meet_deadlines(self, now: float) -> None:
        if self._over:
            return
        if self._beat_at <= now:
            self._beat_at = now + BEAT
            self._beat(now)
            self._to.oom_kills.look()
        if self._limit_at is not None and self._limit_at <= now:
            self._limit_at = None
            if self.facts.frame is None:
                self._stop(Reason.TIMEOUT, now)
        if self._kill_at is not None and self._kill_at <= now:
            self._kill_at = None
            self.facts = replace(self.facts, killed=True)
            self._to.children.kill()
        if self._exit_by is not None and self._exit_by <= now:
            self._exit_by = None
            self._note(f"the job had ended but its process had not left after {EXIT_TIME:g} s and was killed")
            self._to.children.kill()

    def _stop(self, reason: Reason, now: float) -> None:
        """Ask the attempt to end, and see to it: the ladder for cancel, time limit and a runner's stop alike."""
        if self.facts.stopped_for is None:
            self.facts = replace(self.facts, stopped_for=reason)
            self._kill_at = now + self._to.kill_grace
            self._to.children.stop()

    def _beat(self, now: float) -> None:
        try:
            if self._to.stop_now():
                self._stop(Reason.LOST, now)
            if self._to.pulse.cancel_requested() and self.facts.frame is None:
                self._stop(Reason.CANCELLED, now)
            news = (self.facts.pid, self._progress)
            if news != self._told or now >= self._renew_at:
                self._to.pulse.renew(*news)
                self._told = news
                self._renew_at = now + self._to.pulse.renew_every
                self._to.children.extend(self._to.pulse.ours_until)
        except Fenced:
            self.fenced = True
            self._to.children.kill()
        except DatabaseUnavailable:  # supervision goes on without it; the lease has room for several tries
            self._renew_at = now


_FRAME_WORDS = ("kind", "result", "note", "error", "traceback", "cause")


# A child tells the truth only as long as its job does not write to the pipe itself: what is stored and shown later is
# checked here, once.


def _frame_words(message: Mapping[str, object]) -> dict[str, str]:
    """Return the words of a frame that counts. Raises BadFrame for a result that is not JSON."""
    words = {
        name: _storable(value) for name, value in message.items() if name in _FRAME_WORDS and isinstance(value, str)
    }
    try:
        json.loads(words.get("result", "null"))
    except (ValueError, RecursionError) as error:
        raise frames.BadFrame("a result that is not JSON") from error
    return words


def _progress_text(message: Mapping[str, object]) -> str:
    fraction, words = message.get("fraction"), message.get("message")
    told = {
        "fraction": fraction if isinstance(fraction, int | float) and math.isfinite(fraction) else None,
        "message": _storable(words[:LONGEST_MESSAGE]) if isinstance(words, str) else None,
    }
    return json.dumps(told, ensure_ascii=False)


def _storable(text: str) -> str:
    """Return a text as every database takes it: PostgreSQL knows no NUL, and none can encode half a character."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def secret_values(claimed: Claim, extra: tuple[str, ...]) -> frozenset[str]:
    """Return the texts that must not appear in what this attempt leaves behind."""
    with contextlib.suppress(ValueError):
        values, names = json.loads(claimed.params), json.loads(claimed.secret_params)
        return masking.secret_values(values, tuple(names), extra)
    return frozenset()

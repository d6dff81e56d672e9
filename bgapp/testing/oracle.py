"""Judge a run: what was asked, what the tables say and what the witness saw must agree.

Pure: no clock, no database, no process is touched here. Only what is certain is a violation. A run that overlaps
another, or comes after one that nothing explains, is shown with the lines that prove it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bgapp.models import FINAL, Reason, Status
from bgapp.testing.witness import END, RAISED, START, Line

LOST_IN_A_ROW = 3  # as many lost attempts in a row are poison
CANCEL_TIME = 20.0  # seconds in which the slowest machine ends what was cancelled: a beat, a grace, a stopped runner


@dataclass
class Request:
    """One job that was asked for, and what the asker was told."""

    tag: int
    retries: int
    job: int | None = None  # None: the call failed, and the job may be stored or not
    cancelled_at: int | None = None  # a cancel was acknowledged when the newest attempt had this number
    cancelled_ns: int | None = None  # and at this moment (monotonic nanoseconds)
    may_be_cancelled: bool = False  # a cancel was asked at some time, whatever came of it
    granted: int = 0  # how often a person had it run again, acknowledged or not


@dataclass(frozen=True)
class Row:
    """A job as the table has it in the end."""

    id: int
    tag: int
    status: str
    reason: str | None
    attempt: int


@dataclass(frozen=True)
class Attempt:
    """An attempt as the table has it in the end."""

    job: int
    number: int
    status: str
    reason: str | None
    error: str | None = None


@dataclass(frozen=True)
class Violation:
    """Something that must not be: its kind, the job, a sentence, and the lines that show it."""

    kind: str
    job: int | None
    text: str
    evidence: tuple[str, ...] = ()


@dataclass
class Story:
    """All that is known of one job."""

    request: Request
    row: Row
    attempts: list[Attempt] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def starts(self, attempt: int | None = None) -> list[Line]:
        return [line for line in self.lines if line.mark == START and attempt in (None, line.attempt)]

    def ended_by(self, attempt: int, mark: str) -> bool:
        return any(line.mark == mark and line.attempt == attempt for line in self.lines)

    def evidence(self) -> tuple[str, ...]:
        return (
            f"asked: {self.request}",
            f"table: {self.row}",
            *(f"table: {one}" for one in self.attempts),
            *(f"witness: {line}" for line in self.lines),
        )


Seen = Mapping[tuple[int, int], int]


def judge(
    requests: Sequence[Request], rows: Sequence[Row], attempts: Sequence[Attempt], lines: Sequence[Line], alive: Seen
) -> list[Violation]:
    """Return every violation.

    `alive` says of processes, named by pid and start ticks, when they were last seen alive (monotonic nanoseconds).
    """
    found = list(_whole(requests, rows, lines))
    for story in _stories(requests, rows, attempts, lines):
        for kind, check in CHECKS.items():
            found += [Violation(kind, story.row.id, text, story.evidence()) for text in check(story)]
        found += [Violation("overlap", story.row.id, text, story.evidence()) for text in _overlap(story, alive)]
    return found


def _stories(
    requests: Sequence[Request], rows: Sequence[Row], attempts: Sequence[Attempt], lines: Sequence[Line]
) -> Iterator[Story]:
    by_tag = {request.tag: request for request in requests}
    stories = {row.id: Story(by_tag[row.tag], row) for row in rows if row.tag in by_tag}
    for attempt in sorted(attempts, key=lambda one: one.number):
        if attempt.job in stories:
            stories[attempt.job].attempts.append(attempt)
    for line in sorted(lines, key=lambda one: one.at):
        if line.job in stories:
            stories[line.job].lines.append(line)
    yield from stories.values()


def _whole(requests: Sequence[Request], rows: Sequence[Row], lines: Sequence[Line]) -> Iterator[Violation]:
    """Every acknowledged job is in the table, once, and nothing else is."""
    stored = {row.id: row for row in rows}
    for request in requests:
        if request.job is not None and (request.job not in stored or stored[request.job].tag != request.tag):
            yield Violation("lost", request.job, "an acknowledged job is not in the table", (f"asked: {request}",))
    times = Counter(row.tag for row in rows)
    asked = {request.tag for request in requests}
    for row in rows:
        if row.tag not in asked:
            yield Violation("unasked", row.id, "nobody asked for this job", (f"table: {row}",))
        elif times[row.tag] > 1:
            yield Violation("unasked", row.id, f"one call made {times[row.tag]} jobs", (f"table: {row}",))
    for line in lines:
        if line.job not in stored:
            yield Violation("unasked", line.job, "a job ran that is not in the table", (f"witness: {line}",))


# One job -------------------------------------------------------------------------------------------------------


def _stuck(story: Story) -> Iterator[str]:
    if story.row.status not in FINAL:
        yield f"it is still {story.row.status}"


def _open_attempt(story: Story) -> Iterator[str]:
    for attempt in story.attempts:
        if attempt.status == Status.RUNNING and (story.row.status in FINAL or attempt.number != story.row.attempt):
            yield f"attempt {attempt.number} is still running in the table"
    if [attempt.number for attempt in story.attempts] != list(range(1, story.row.attempt + 1)):
        yield f"the job counts {story.row.attempt} attempts and has {[one.number for one in story.attempts]}"


def _unrecorded(story: Story) -> Iterator[str]:
    recorded = {attempt.number for attempt in story.attempts}
    for number in sorted({line.attempt for line in story.starts()} - recorded):
        yield f"attempt {number} ran and is not in the table"


def _second_run(story: Story) -> Iterator[str]:
    """More starts than 1 + failed attempts + a person's wish explain."""
    for number, times in Counter(line.attempt for line in story.starts()).items():
        if times > 1:
            yield f"attempt {number} started {times} times"
    started = sorted({line.attempt for line in story.starts()})
    granted = story.request.granted
    if len(started) > (1 + story.request.retries) * (1 + granted):
        yield f"it started {len(started)} times, with {story.request.retries} retries and {granted} wishes of a person"
    ended = {attempt.number: attempt for attempt in story.attempts}
    not_failed = [one for one in started[:-1] if one in ended and ended[one].status != Status.FAILED]
    if len(not_failed) > granted:
        yield f"it ran again after attempts {not_failed}, which had not failed"


def _no_end(story: Story) -> Iterator[str]:
    for attempt in story.attempts:
        if attempt.status == Status.COMPLETED and not story.ended_by(attempt.number, END):
            yield f"attempt {attempt.number} is completed, and its method never returned"


def _not_started(story: Story) -> Iterator[str]:
    for attempt in story.attempts:
        if attempt.reason == Reason.NOT_STARTED and story.starts(attempt.number):
            yield f"attempt {attempt.number} is not_started, and its method ran"


def _wrong_outcome(story: Story) -> Iterator[str]:
    for attempt in story.attempts:
        if attempt.reason == Reason.ERROR and not story.ended_by(attempt.number, RAISED):
            yield f"attempt {attempt.number} failed with an error that its method never raised: {attempt.error}"
        if attempt.reason in (Reason.NO_RESULT, Reason.NOT_ALLOWED):
            yield f"attempt {attempt.number} ended as {attempt.reason}, which no blow explains: {attempt.error}"
    if story.row.status in FINAL and story.attempts:
        last = story.attempts[-1]
        completed = (story.row.status == Status.COMPLETED, last.status == Status.COMPLETED)
        if any(completed) and not all(completed) and not story.request.may_be_cancelled:
            yield f"the job is {story.row.status} and its last attempt {last.status}"
    elif story.row.status in (Status.COMPLETED, Status.FAILED):
        yield f"the job is {story.row.status} without an attempt"


def _gave_up_early(story: Story) -> Iterator[str]:
    if story.row.status != Status.FAILED or story.request.granted:
        return
    used = [attempt for attempt in story.attempts if attempt.reason != Reason.NOT_STARTED]
    in_row = 0
    for attempt in used:
        in_row = in_row + 1 if attempt.reason == Reason.LOST else 0
    if len(used) <= story.request.retries and in_row < LOST_IN_A_ROW:
        yield f"it failed after {len(used)} attempts and has {story.request.retries} retries"


def _cancel(story: Story) -> Iterator[str]:
    asked_at = story.request.cancelled_at
    if story.row.status == Status.CANCELLED and not story.request.may_be_cancelled:
        yield "it is cancelled, and nobody asked for that"
    if asked_at is None:
        return
    if story.row.status == Status.FAILED:
        yield "a cancel was acknowledged, and the job failed instead"
    for line in story.starts():
        if line.attempt > asked_at:
            yield f"attempt {line.attempt} started after a cancel was acknowledged at attempt {asked_at}"
    for line in story.lines:
        late = (line.at - (story.request.cancelled_ns or line.at)) / 1e9
        if line.mark == END and late > CANCEL_TIME:
            yield f"attempt {line.attempt} ran on for {late:.0f} s after a cancel was acknowledged"


def _overlap(story: Story, alive: Seen) -> Iterator[str]:
    """Two runs at once, for certain: the kernel said so, or one ended or was seen alive after the other began."""
    starts = story.starts()
    for number, line in enumerate(starts):
        if not line.alone:
            yield f"attempt {line.attempt} started while another run held the job's lock"
        # An interval without an end lasted at least until its process was last seen alive; more cannot be said.
        ends = [other.at for other in story.lines if _same_run(other, line) and other.mark != START]
        open_until = min(ends) if ends else alive.get((line.pid, line.ticks), line.at)
        for later in starts[number + 1 :]:
            if later.at < open_until:
                yield f"attempt {later.attempt} started before attempt {line.attempt} had ended"


def _same_run(one: Line, other: Line) -> bool:
    return (one.attempt, one.pid, one.ticks) == (other.attempt, other.pid, other.ticks)


CHECKS: dict[str, Callable[[Story], Iterator[str]]] = {
    "stuck": _stuck,
    "open attempt": _open_attempt,
    "unrecorded run": _unrecorded,
    "second run": _second_run,
    "no end": _no_end,
    "not_started": _not_started,
    "wrong outcome": _wrong_outcome,
    "gave up early": _gave_up_early,
    "cancel": _cancel,
}


def outcomes(rows: Sequence[Row], attempts: Sequence[Attempt]) -> dict[str, Counter[str]]:
    """Return how many jobs and attempts ended how."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    counted["jobs"].update(f"{row.status} {row.reason or ''}".strip() for row in rows)
    counted["attempts"].update(f"{one.status} {one.reason or ''}".strip() for one in attempts)
    return counted

"""Attempts as lists show them: a page of the stream, and what changed in it since a cursor."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from ..domain.reasons import AttemptStage, AttemptState, Reason, ReasonClass, Trigger
from ..errors import BadInput
from ..models import Attempt, DigitalTwin, Experiment, Post, Schedule, UserProfile
from .lookup import LARGEST_KEY

PAGE_SIZE = 50
MOST_CHANGES = 200
# How many attempts are looked at for a filter that no index answers: some hundredths of a second.
MOST_SEARCHED = 50_000
# So far a clock that was set may put a time out of the order of ids.
OUT_OF_ORDER = timedelta(hours=1)
LATE_COMMIT = timedelta(seconds=10)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class AttemptLine:
    """One attempt as a row of a list. `post_text` is "" where nothing was posted."""

    id: int
    uuid: UUID
    created_at: datetime
    changed_at: datetime
    not_before: datetime
    waits_for: str
    state: AttemptState
    stage: AttemptStage | None
    reason: Reason | None
    reason_class: ReasonClass | None
    detail: str
    trigger: Trigger
    is_forced: bool
    recency_probability: float | None
    share_probability: float | None
    skip_probability: float | None
    draw: float | None
    length_band: str | None
    length: int | None
    is_stand_in: bool
    is_rehearsal: bool
    latency_ms: int | None
    twin_id: int
    twin_uuid: UUID
    twin: str
    experiment_id: int
    experiment: str
    experiment_zone: str
    schedule: str | None
    post_text: str
    model: str


@dataclass(frozen=True)
class Filters:
    """Which attempts to list. What an attempt is never changes but state, reason, class, model and post.

    `text` is looked for in the post, `since` (included) and `until` are of when they were asked for.
    """

    experiment: Experiment | None = None
    twin: DigitalTwin | None = None
    schedule: Schedule | None = None
    trigger: Trigger | None = None
    is_rehearsal: bool | None = None
    state: AttemptState | None = None
    reason: Reason | None = None
    reason_class: ReasonClass | None = None
    model: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_of_few(self) -> bool:
        """Whether an index leads to all that can fit, and there are not many of them."""
        return self.twin is not None or not self.passing()

    def lasting(self, is_indexed: bool = True) -> tuple:
        """The conditions an attempt fulfils for ever or never.

        Without `is_indexed` they are written so that the database takes another condition's index.
        """
        wanted = (
            (Attempt.experiment_id, self.experiment),
            (Attempt.digital_twin_id, self.twin),
            (Attempt.schedule_id, self.schedule),
        )
        of_rows = [(column, row.id) for column, row in wanted if row is not None]
        conditions = [(column if is_indexed else column + 0) == number for column, number in of_rows]
        closed = ((Attempt.trigger, self.trigger), (Attempt.is_rehearsal, self.is_rehearsal))
        times = [Attempt.created_at >= self.since] if self.since else []
        times += [Attempt.created_at < self.until] if self.until else []
        return (*conditions, *(column == value for column, value in closed if value is not None), *times)

    def passing(self) -> tuple:
        """The conditions an attempt may come to fulfil, or no longer fulfil."""
        wanted = (
            (Attempt.state, self.state),
            (Attempt.reason, self.reason),
            (Attempt.reason_class, self.reason_class),
        )
        found = [column == value for column, value in wanted if value is not None]
        found += [Attempt.model == self.model] if self.model else []
        found += [Post.text.icontains(self.text, autoescape=True)] if self.text else []
        return tuple(found)

    def fits(self, line: AttemptLine) -> bool:
        """Whether a line that fulfils the lasting conditions fulfils the others now."""
        return (
            self.state in (None, line.state)
            and self.reason in (None, line.reason)
            and self.reason_class in (None, line.reason_class)
            and self.model in ("", line.model)
            and self.text.lower() in line.post_text.lower()
        )


@dataclass(frozen=True)
class Page:
    """A page of attempts, newest first. Ids lead on: `older` goes to `before`, `newer` to `after`.

    `searched_to` is when the oldest one was asked that was looked at, where not all older ones were.
    """

    lines: tuple[AttemptLine, ...]
    older: int | None
    newer: int | None
    searched_to: datetime | None = None


@dataclass(frozen=True)
class Changes:
    """What is new or different since a cursor, newest first, and attempts that no longer fit the filter."""

    lines: tuple[AttemptLine, ...]
    gone: tuple[UUID, ...]
    cursor: str


def attempt_lines() -> Select:
    """A query whose rows make an AttemptLine each; add conditions, order and limit.

    Attempts of an experiment that is being deleted are in no list any more.
    """
    return (
        select(
            Attempt.id,
            Attempt.uuid,
            Attempt.created_at,
            Attempt.changed_at,
            Attempt.not_before,
            Attempt.waits_for,
            Attempt.state,
            Attempt.stage,
            Attempt.reason,
            Attempt.reason_class,
            Attempt.detail,
            Attempt.trigger,
            Attempt.is_forced,
            Attempt.recency_probability,
            Attempt.share_probability,
            Attempt.skip_probability,
            Attempt.draw,
            Attempt.length_band,
            Attempt.length,
            Attempt.is_stand_in,
            Attempt.is_rehearsal,
            Attempt.latency_ms,
            Attempt.digital_twin_id,
            DigitalTwin.uuid,
            UserProfile.username,
            Attempt.experiment_id,
            Experiment.name,
            Experiment.zone,
            Schedule.name,
            func.coalesce(Post.text, ""),
            Attempt.model,
        )
        .join(DigitalTwin, DigitalTwin.id == Attempt.digital_twin_id)
        .join(UserProfile, UserProfile.id == DigitalTwin.user_profile_id)
        .join(Experiment, Experiment.id == Attempt.experiment_id)
        .outerjoin(Schedule, Schedule.id == Attempt.schedule_id)
        .outerjoin(Post, Post.attempt_id == Attempt.id)
        .where(Experiment.delete_asked_at.is_(None))
    )


def latest(session: Session, experiment: Experiment | None, count: int) -> tuple[AttemptLine, ...]:
    """The newest attempts of one experiment, or of all."""
    return _newest(session, Filters(experiment=experiment), count)


def page(session: Session, filters: Filters, before: int | None = None, after: int | None = None) -> Page:
    """At most 50 attempts: the newest, those older than id `before`, or those just newer than id `after`.

    What no index leads to is looked for among the next 50,000 attempts only: with `searched_to` given, the
    page may hold less than there is, and `older` goes on from there.
    """
    query = attempt_lines().where(*filters.lasting(), *filters.passing()).limit(PAGE_SIZE + 1)
    if after is not None:
        top = None if filters.is_of_few else min(after + MOST_SEARCHED, LARGEST_KEY)
        newer = query.where(Attempt.id > after, *(() if top is None else (Attempt.id <= top,)))
        rows = session.execute(newer.order_by(Attempt.id)).all()
        has_newer, rows = len(rows) > PAGE_SIZE, rows[:PAGE_SIZE]
        lines = tuple(AttemptLine(*row) for row in reversed(rows))
        if not has_newer:
            return page(session, filters)
        return Page(lines, older=lines[-1].id, newer=lines[0].id)
    start = _end_of(session, filters, before)
    floor = None if filters.is_of_few or start is None else max(0, start - MOST_SEARCHED)
    if start is not None:
        query = query.where(Attempt.id < start)
    if floor:
        query = query.where(Attempt.id >= floor)
    rows = session.execute(query.order_by(Attempt.id.desc())).all()
    lines = tuple(AttemptLine(*row) for row in rows[:PAGE_SIZE])
    older = lines[-1].id if len(rows) > PAGE_SIZE else None
    newer = None if before is None else (lines[0].id if lines else before - 1)
    if older is None and floor:
        searched_to = session.scalar(
            select(Attempt.created_at).where(Attempt.id < floor).order_by(Attempt.id.desc()).limit(1)
        )
        if searched_to is not None and not (filters.since and searched_to < filters.since - OUT_OF_ORDER):
            return Page(lines, floor, newer, searched_to)
    return Page(lines, older, newer)


def _end_of(session: Session, filters: Filters, before: int | None) -> int | None:
    """Below which id to look: ids grow with time but for an hour, so an index by time leads to the place."""
    found = [] if before is None else [before]
    if filters.until is not None:
        later = (
            select(Attempt.id)
            .where(Attempt.created_at >= filters.until + OUT_OF_ORDER)
            .order_by(Attempt.created_at)
            .limit(1)
        )
        found += [number] if (number := session.scalar(later)) is not None else []
    if not found and not filters.is_of_few:
        newest = session.scalar(select(func.max(Attempt.id)))
        found += [] if newest is None else [newest + 1]
    return min(found, default=None)


def change_cursor(session: Session, filters: Filters) -> str:
    """Where the stream stands now: give it to `changes` to hear of everything later."""
    newest = session.execute(
        select(Attempt.changed_at, Attempt.id).order_by(Attempt.changed_at.desc(), Attempt.id.desc()).limit(1)
    ).first()
    if newest is None:
        return _cursor(_EPOCH, 0, ())
    window = _window(session, filters, newest.changed_at - LATE_COMMIT)
    return _cursor(newest.changed_at, newest.id, window)


def changes(session: Session, filters: Filters, cursor: str) -> Changes | None:
    """What changed since the cursor, None if nothing did. Raises BadInput on a cursor that is none.

    A change may be committed a little after a later one; so the last 10 s before the cursor are looked at
    again, and given again if they hold anything else than before. At most the 200 latest changes are given.
    """
    changed_at, last_id, _ = _parse(cursor)
    window = _window(session, filters, changed_at - LATE_COMMIT)
    reached = max([*window, (changed_at, last_id)])
    shown = [each for each in window if each[0] > reached[0] - LATE_COMMIT]
    fresh = _cursor(reached[0], reached[1], shown)
    if fresh == cursor:
        return None
    ids = [number for _, number in window]
    rows = session.execute(attempt_lines().where(Attempt.id.in_(ids)).order_by(Attempt.id.desc())).all()
    lines = [AttemptLine(*row) for row in rows]
    return Changes(
        lines=tuple(line for line in lines if filters.fits(line)),
        gone=tuple(line.uuid for line in lines if not filters.fits(line)),
        cursor=fresh,
    )


def _newest(session: Session, filters: Filters, count: int) -> tuple[AttemptLine, ...]:
    query = attempt_lines().where(*filters.lasting(), *filters.passing()).order_by(Attempt.id.desc())
    return tuple(AttemptLine(*row) for row in session.execute(query.limit(count)))


def _window(session: Session, filters: Filters, since: datetime) -> list[tuple[datetime, int]]:
    """(changed_at, id) of the latest changes after `since`, newest first."""
    rows = session.execute(
        select(Attempt.changed_at, Attempt.id)
        .where(Attempt.changed_at > since, *filters.lasting(is_indexed=False))
        .order_by(Attempt.changed_at.desc(), Attempt.id.desc())
        .limit(MOST_CHANGES)
    )
    return [(changed_at, number) for changed_at, number in rows]


def _cursor(changed_at: datetime, last_id: int, window: Sequence[tuple[datetime, int]]) -> str:
    text = ";".join(f"{_microseconds(at)},{number}" for at, number in sorted(window))
    digest = hashlib.sha256(text.encode()).hexdigest()[:12] if window else "0"
    return f"{_microseconds(changed_at)}.{last_id}.{digest}"


def _parse(cursor: str) -> tuple[datetime, int, str]:
    try:
        micros, last_id, digest = cursor.split(".")
        changed_at = _EPOCH + timedelta(microseconds=int(micros))
        if changed_at < _EPOCH:
            raise ValueError
        return changed_at, int(last_id), digest
    except (ValueError, OverflowError):
        raise BadInput("This is not a place in the stream. Reload the page.", "since") from None


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)

"""Notices: what appeared on the attention list and what recovered, in an outbox that is sent in its order.

A line must hold for a minute before it is told, and be gone for a minute before its recovery is. What was
written and not delivered is sent again, so a notice may come twice with the same id, and never not at all.
"""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..config import Settings
from ..models import Account, Notice, NoticeLine, NoticeMark
from ..models.base import new_uuid
from . import attention, audit, reports, reports_now
from .attention import UNDELIVERED, Line
from .ledger import of_last_day

HOLDS_FOR = timedelta(seconds=60)
GIVES_UP_AFTER = timedelta(days=1)
KEPT_FOR = timedelta(days=30)
# Longer than a try takes: when it passes, whoever tried has died.
LEASE = timedelta(seconds=30)
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 10, 3600
MOST_SHOWN = 20
TOLD_LEVELS = frozenset({"bad", "warn"})
# Its title names a person.
ASKED, ASKED_TITLE = "asked_if_human:", "Somebody asked a twin whether it is a human being."


def current_lines(session: Session, settings: Settings, now: datetime) -> list[Line]:
    """What is told of all experiments at this moment."""
    found = attention.lines(
        session,
        settings,
        None,
        reports_now.alive_of(session, now),
        reports.twin_counts(session, None),
        of_last_day(session, None, now),
        now,
    )
    return [line for line in found if line.level in TOLD_LEVELS and line.key != UNDELIVERED]


def is_due(session: Session, name: str, seconds: float, now: datetime) -> bool:
    """Whether so long has passed since anybody did this."""
    fresh = select(NoticeMark.name).where(NoticeMark.name == name, sa.not_(_is_past(seconds, now)))
    return session.scalars(fresh).first() is None


def is_turn(session: Session, name: str, seconds: float, now: datetime) -> bool:
    """Whether so long has passed since anybody did this; then it is the caller's to do, who commits."""
    if session.get(NoticeMark, name) is None:
        try:
            with session.begin_nested():
                session.add(NoticeMark(name=name, marked_at=now))
        except IntegrityError:  # another scheduler did in this moment
            return False
        return True
    done = session.execute(
        update(NoticeMark).where(NoticeMark.name == name, _is_past(seconds, now)).values(marked_at=now),
        execution_options={"synchronize_session": False},
    )
    return done.rowcount == 1


def note(session: Session, lines: Iterable[Line], now: datetime) -> None:
    """Writes a notice for each line that has held for a minute, or been gone for one. The caller commits."""
    known = {row.key: row for row in session.scalars(select(NoticeLine).with_for_update())}
    present = {line.key[:120]: line for line in lines}
    for key, line in present.items():
        row = known.get(key)
        if row is None:
            row = NoticeLine(key=key, level=line.level, seen_since=now)
            session.add(row)
        row.level, row.words, row.missing_since = line.level, line.words, None
        row.title = (ASKED_TITLE if key.startswith(ASKED) else line.title)[:300]
        if row.told_at is None and now - row.seen_since >= HOLDS_FOR:
            _write(session, "appeared", row, now)
            row.told_at = now
    for key in known.keys() - present.keys():
        row = known[key]
        if row.told_at is None:
            session.delete(row)
        elif row.missing_since is None:
            row.missing_since = now
        elif now - row.missing_since >= HOLDS_FOR:
            _write(session, "recovered", row, now)
            session.delete(row)
    session.execute(delete(Notice).where(Notice.is_waiting.is_(False), Notice.created_at < now - KEPT_FOR))


def add_test(session: Session, now: datetime, account: Account) -> Notice:
    """Writes a notice that only says that notices arrive. The caller commits."""
    words = "Somebody pressed the test button. Nothing is wrong."
    line = NoticeLine(key="test", level="info", title="This is a test.", words=words, seen_since=now)
    notice = _write(session, "test", line, now)
    session.flush()
    audit.record(session, "test notices", notice, now, account)
    return notice


def is_any_to_send(session: Session, now: datetime) -> bool:
    """Whether the oldest waiting notice may be tried now."""
    first = select(Notice.next_try_at).where(Notice.is_waiting).order_by(Notice.id).limit(1)
    at = session.scalars(first).first()
    return at is not None and at <= now


def take(session: Session, now: datetime) -> Notice | None:
    """The oldest waiting notice if it may be tried now: nobody else tries it for half a minute.

    Those behind it wait with it. The caller commits before it sends.
    """
    first = session.scalars(select(Notice).where(Notice.is_waiting).order_by(Notice.id).limit(1)).first()
    if first is None:
        return None
    taken = session.execute(
        update(Notice)
        .where(Notice.id == first.id, Notice.is_waiting, Notice.next_try_at <= now)
        .values(next_try_at=now + LEASE, tries=Notice.tries + 1),
        execution_options={"synchronize_session": False},
    )
    if taken.rowcount != 1:
        return None
    session.refresh(first)
    return first


def settle(session: Session, notice_id: int, status: int | None, problem: str, now: datetime) -> None:
    """Writes down how a try ended: delivered, to be tried again later, or given up. The caller commits."""
    notice = session.get(Notice, notice_id, with_for_update=True)
    if notice is None or not notice.is_waiting:
        return
    notice.status, notice.problem = status, problem[:300]
    if not problem:
        notice.is_waiting, notice.delivered_at = False, now
    elif now - notice.created_at >= GIVES_UP_AFTER:
        notice.is_waiting, notice.given_up_at = False, now
    else:
        wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(notice.tries - 1, 20))
        notice.next_try_at = now + timedelta(seconds=wait)


def latest(session: Session) -> list[Notice]:
    """The newest notices, newest first."""
    return list(session.scalars(select(Notice).order_by(Notice.id.desc()).limit(MOST_SHOWN)))


def told_lines(session: Session) -> list[NoticeLine]:
    """The lines the scheduler sees at present, the oldest first."""
    return list(
        session.scalars(select(NoticeLine).order_by(NoticeLine.seen_since, NoticeLine.key).limit(100))
    )


def marked_at(session: Session, name: str) -> datetime | None:
    """When this was last done."""
    return session.scalar(select(NoticeMark.marked_at).where(NoticeMark.name == name))


def _is_past(seconds: float, now: datetime) -> sa.ColumnElement[bool]:
    """A mark far ahead is of a clock that was set back."""
    span = timedelta(seconds=seconds)
    return sa.or_(NoticeMark.marked_at <= now - span, NoticeMark.marked_at > now + span)


def _write(session: Session, event: str, row: NoticeLine, now: datetime) -> Notice:
    uuid = new_uuid()
    line = {"key": row.key, "level": row.level, "title": row.title, "words": row.words}
    body = {
        "id": str(uuid),
        "event": event,
        "at": now.isoformat(),
        "since": row.seen_since.isoformat(),
        "line": line,
    }
    notice = Notice(
        uuid=uuid,
        event=event,
        title=row.title,
        body=json.dumps(body, ensure_ascii=True),
        created_at=now,
        next_try_at=now,
    )
    session.add(notice)
    session.flush()
    return notice

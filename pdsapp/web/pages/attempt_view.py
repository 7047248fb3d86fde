"""The attempt page as values: what templates/web/attempt.html draws."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import url_for
from sqlalchemy.orm import Session

from ...attempts.erased import waits_for_erasing
from ...attempts.replay import Check, Replay
from ...domain.diffs import Piece, word_diff
from ...domain.draft import Brief
from ...domain.prompt import age_words
from ...domain.reasons import TERMINAL_STATES, AttemptState, Visibility
from ...dt_service import DTService
from ...models import Attempt
from ...services.editing import is_open
from .. import access
from ..request_ids import request_fields
from . import attempt_outcome as outcome
from . import evidence, links
from .attempt_facts import SHOWN_OF_HASH, Fact, asked_by, facts, text_note
from .attempt_story import ReplyView, Step, changes, replies, timeline, took_words
from .decision_view import DecisionView, decision_view, number


@dataclass(frozen=True)
class Head:
    """What stands below the title."""

    state: str
    at: datetime
    origin: str
    origin_url: str


@dataclass(frozen=True)
class ContextView:
    """A post of the feed as the twin saw it."""

    author: str
    age: str
    text: str
    is_own: bool


@dataclass(frozen=True)
class CheckView:
    """One recomputed value beside the stored one."""

    name: str
    stored: str
    again: str
    is_same: bool


@dataclass(frozen=True)
class ReplayView:
    """What replay says: `verdict` in one or two words, `sentence` in full."""

    verdict: str
    sentence: str
    is_bad: bool
    checks: tuple[CheckView, ...]


@dataclass(frozen=True)
class Button:
    """A button that changes something; `note` says what."""

    words: str
    url: str
    fields: dict[str, str]
    note: str
    confirm: str = ""


@dataclass(frozen=True)
class AttemptPage:
    """What templates/web/attempt.html draws; its top comment says what each part is."""

    title: str
    crumbs: list[tuple[str, str | None]]
    zone: ZoneInfo
    attempt: Head
    text: str
    text_note: str
    is_stand_in: bool
    is_rehearsal: bool
    words: str
    remedy: str
    remedy_url: str
    waiting_words: str
    waiting_is_bad: bool
    decision: DecisionView | None
    messages: tuple[evidence.Message, ...]
    messages_note: str
    curl: str
    replies: list[ReplyView]
    changes: list[str]
    difference: tuple[Piece, ...]
    steps: list[Step]
    took: str
    facts: list[Fact]
    context: list[ContextView]
    context_note: str
    replay: ReplayView | None
    links: list[tuple[str, str, bool]]
    posts: list[Button]
    state_url: str
    cursor: str


def attempt_page(
    session: Session, attempt: Attempt, service: DTService | None, is_served: bool, cursor: str
) -> AttemptPage:
    """Everything the page of this attempt shows. Reads only."""
    zone = ZoneInfo(attempt.experiment.zone)
    by = asked_by(session, attempt)
    brief = evidence.rebuilt_brief(session, attempt, service)
    sent = None if brief is None else evidence.sent_messages(session, attempt, brief, service)
    remedy, remedy_url = outcome.remedy(attempt)
    is_over, waits = attempt.state in TERMINAL_STATES, waits_for_erasing(session, attempt)
    return AttemptPage(
        title=outcome.title(attempt),
        crumbs=[("Attempts", links.to("attempt.index_view") or None), (f"{str(attempt.uuid)[:8]}…", None)],
        zone=zone,
        attempt=Head(attempt.state.value, attempt.created_at, *_origin(attempt, by)),
        text=attempt.post.text if attempt.post else "",
        text_note=text_note(attempt),
        is_stand_in=attempt.is_stand_in,
        is_rehearsal=attempt.is_rehearsal,
        words=outcome.words(attempt),
        remedy=remedy,
        remedy_url=remedy_url,
        waiting_words="" if is_over else outcome.waiting_words(attempt, zone, is_served, waits),
        waiting_is_bad=not is_served,
        decision=decision_view(attempt, by),
        messages=sent.messages if sent else (),
        messages_note=sent.note if sent else "",
        curl=evidence.curl_command(attempt, brief),
        replies=replies(attempt),
        changes=changes(attempt),
        difference=_difference(attempt),
        steps=timeline(attempt, by),
        took=took_words(attempt),
        facts=facts(session, attempt, by),
        context=_context(brief, attempt),
        context_note="newest last",
        replay=_replay(evidence.replayed(session, attempt, service)),
        links=_links(attempt),
        posts=_buttons(attempt),
        state_url=url_for("attempt_page.state", uuid=attempt.uuid),
        cursor=cursor,
    )


def _origin(attempt: Attempt, by: str) -> tuple[str, str]:
    if attempt.schedule is not None:
        return f"slot of “{attempt.schedule.name}”", links.details("schedule", attempt.schedule_id)
    kind = "post now" if attempt.is_forced else "ask now"
    return f"{kind}, by {by}", ""


def _difference(attempt: Attempt) -> tuple[Piece, ...]:
    """What differs between the draft and what was posted of it, word by word; nothing if nothing does."""
    draft, post = attempt.draft, attempt.post
    if draft is None or post is None or post.visibility == Visibility.erased or draft == post.text:
        return ()
    return word_diff(draft, post.text)


def _context(brief: Brief | str | None, attempt: Attempt) -> list[ContextView]:
    if not isinstance(brief, Brief):
        return []
    return [
        ContextView(post.username, age_words(attempt.shown_at, post.created_at), post.text, post.is_own)
        for post in brief.context
    ]


def _replay(found: Replay | str | None) -> ReplayView | None:
    if found is None:
        return None
    if isinstance(found, str):
        return ReplayView("not reproducible", f"It cannot be recomputed: {found}.", True, ())
    if not found.checks:
        return None
    sentence = {
        "same": "Recomputed from the stored keys, every value is the same.",
        "different": "Recomputed from the stored keys, something differs from what was stored.",
    }.get(found.verdict, " ".join(found.causes))
    checks = tuple(_check(check) for check in found.checks)
    return ReplayView(found.verdict, sentence, found.verdict != "same", checks)


def _check(check: Check) -> CheckView:
    again = "–" if check.cause else _value(check.again)
    return CheckView(check.name, _value(check.stored), again, check.is_same)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "post" if value else "silent"
    if isinstance(value, float):
        return number(value)
    text = "–" if value is None else str(value)
    return text[:SHOWN_OF_HASH] if len(text) == 64 else text


def _buttons(attempt: Attempt) -> list[Button]:
    """What can be done about a failed attempt, for who may."""
    if attempt.state != AttemptState.failed or not access.may_change(attempt) or not is_open(attempt):
        return []
    asks = "whatever the draw" if attempt.is_forced else "by the rule"
    note = f"A failed attempt stays as it is; a new one asks the twin now, {asks}, and points to this one."
    fields = request_fields() | {"id": str(attempt.id)}
    return [Button("Try again", links.to("attempt.again"), fields, note)]


def _links(attempt: Attempt) -> list[tuple[str, str, bool]]:
    found = []
    if attempt.post is not None:
        found.append(("See it in the feed", links.post_in_feed(attempt), True))
    if attempt.state in TERMINAL_STATES and access.may_change(attempt) and is_open(attempt):
        found.append(("Post now …", links.to("digitaltwin.ask", id=attempt.digital_twin_id), False))
    return found

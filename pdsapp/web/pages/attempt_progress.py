"""How far an attempt has come, stage by stage, and what came of it: for the dialog it was asked in."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from flask import url_for
from sqlalchemy.orm import Session

from ...attempts.erased import waits_for_erasing
from ...domain.reasons import TERMINAL_STATES, AttemptStage
from ...models import Attempt
from ...services.editing import is_open
from .. import access
from . import attempt_outcome as outcome
from . import links
from .attempt_brief import AttemptBrief, attempt_brief
from .attempt_story import took_words
from .rows import STAGE_WORDS

STAGES = (
    (None, "Waiting for a worker"),
    *((stage, outcome.capital(STAGE_WORDS[stage])) for stage in AttemptStage),
)


@dataclass(frozen=True)
class Stage:
    """One stage: `state` is done, now or next."""

    words: str
    state: str


@dataclass(frozen=True)
class Progress:
    """What templates/web/attempt_progress.html draws; its top comment says what each part is."""

    url: str
    is_over: bool
    words: str
    stages: tuple[Stage, ...]
    brief: AttemptBrief
    state: str
    figures: str
    remedy: str
    remedy_url: str
    feed_url: str
    again_url: str


def attempt_progress(session: Session, attempt: Attempt, is_served: bool) -> Progress:
    """Where the attempt stands. Reads only."""
    is_over = attempt.state in TERMINAL_STATES
    brief = attempt_brief(session, attempt)
    remedy, remedy_url = outcome.remedy(attempt)
    zone, waits = ZoneInfo(attempt.experiment.zone), waits_for_erasing(session, attempt)
    waiting = outcome.waiting_words(attempt, zone, is_served, waits)
    may_ask = access.may_change(attempt) and is_open(attempt)
    return Progress(
        url=url_for("attempt_page.progress", uuid=attempt.uuid),
        is_over=is_over,
        words=brief.title if is_over else waiting,
        stages=() if is_over else _stages(attempt),
        brief=brief,
        state=attempt.state.value,
        figures=_figures(attempt),
        remedy=remedy,
        remedy_url=remedy_url,
        feed_url=links.post_in_feed(attempt) if attempt.post is not None else "",
        again_url=links.to("digitaltwin.ask", id=attempt.digital_twin_id) if may_ask and is_over else "",
    )


def _stages(attempt: Attempt) -> tuple[Stage, ...]:
    """All of them, but a rewrite only where there is one."""
    has_rewrite = attempt.stage == AttemptStage.rewriting or any(call.is_rewrite for call in attempt.calls)
    known = [each for each in STAGES if each[0] != AttemptStage.rewriting or has_rewrite]
    now = [stage for stage, _ in known].index(attempt.stage)
    return tuple(
        Stage(words, "done" if number < now else "now" if number == now else "next")
        for number, (_, words) in enumerate(known)
    )


def _figures(attempt: Attempt) -> str:
    """ "1.4 s in all, 412 tokens in, 31 out"; "" before the end."""
    found = [took_words(attempt)]
    if attempt.prompt_tokens is not None:
        found.append(f"{attempt.prompt_tokens:,} tokens in")
    if attempt.completion_tokens is not None:
        found.append(f"{attempt.completion_tokens:,} out")
    return ", ".join(filter(None, found))

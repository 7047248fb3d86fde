"""An attempt in short, as a row of the stream shows it when it is opened in place."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from ...models import Attempt
from ..drawbar import DrawBar
from . import attempt_outcome as outcome
from . import links
from .attempt_facts import asked_by, text_note
from .attempt_story import ReplyView, replies
from .decision_view import decided_sentence, decision_view


@dataclass(frozen=True)
class AttemptBrief:
    """What templates/web/attempt_brief.html draws; its top comment says what each part is."""

    title: str
    url: str
    state: str
    text: str
    text_note: str
    is_stand_in: bool
    words: str
    bar: DrawBar | None
    decision: tuple[str, ...]
    calls: list[ReplyView]


def attempt_brief(session: Session, attempt: Attempt) -> AttemptBrief:
    """The attempt in short. Reads only."""
    view = decision_view(attempt, asked_by(session, attempt))
    sentences = (decided_sentence(attempt), view.sentence) if view else ()
    return AttemptBrief(
        title=outcome.title(attempt),
        url=links.attempt(attempt.uuid),
        state=attempt.state.value,
        text=attempt.post.text if attempt.post else "",
        text_note=text_note(attempt),
        is_stand_in=attempt.is_stand_in,
        words=outcome.words(attempt),
        bar=view.bar if view else None,
        decision=tuple(sentence for sentence in sentences if sentence),
        calls=replies(attempt),
    )

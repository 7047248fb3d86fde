"""Whether what an attempt was made of was erased since, and how an open withdrawal holds an experiment."""

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session

from ..domain.erasure import ERASED
from ..domain.reasons import AttemptState
from ..models import Attempt, AttemptContext, PostRevision, Withdrawal

WAS_ERASED = "a participant’s text was erased from what it was shown"


def was_erased(session: Session, attempt: Attempt) -> bool:
    """Whether something the attempt was shown, or a reply it got, was erased since it was decided.

    Then its messages cannot be made again. Two queries, one where nobody has withdrawn.
    """
    pseudonyms = session.scalars(
        select(Withdrawal.pseudonym).where(
            Withdrawal.experiment_id == attempt.experiment_id,
            Withdrawal.asked_at >= (attempt.shown_at or attempt.created_at),
        )
    ).all()
    if not pseudonyms:
        return False
    shown = select(AttemptContext.post_id, AttemptContext.revision)
    texts = session.scalars(
        select(PostRevision.text).where(
            tuple_(PostRevision.post_id, PostRevision.number).in_(
                shown.where(AttemptContext.attempt_id == attempt.id)
            )
        )
    ).all()
    replies = [call.reply for call in attempt.calls if call.reply]
    return any(mark in text for text in (*texts, *replies) for mark in (ERASED, *pseudonyms))


def waits_for_erasing(session: Session, attempt: Attempt) -> bool:
    """Whether the attempt is due but not taken, as a participant is being erased from its experiment."""
    if attempt.state != AttemptState.due:
        return False
    own = being_erased().where(Withdrawal.experiment_id == attempt.experiment_id)
    return session.scalars(own.limit(1)).first() is not None


def being_erased() -> Select[tuple[int]]:
    """The ids of the experiments in which a withdrawal is not finished, for conditions of queries.

    Their attempts wait: none may read a quotation that is about to be erased, and quote it again.
    """
    return select(Withdrawal.experiment_id).where(Withdrawal.finished_at.is_(None))

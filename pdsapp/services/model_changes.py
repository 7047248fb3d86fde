"""Which model an endpoint answers with in an experiment, and when that became another one."""

from collections.abc import Iterable
from hashlib import sha256

from sqlalchemy import or_, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain.reasons import CallState
from ..models import Experiment, ModelCall, ModelSeen

NAME_LENGTH = 80


def note_all(session: Session, calls: Iterable[ModelCall]) -> list[ModelSeen]:
    """`note` for each of these calls; what was new.

    What many of them say alike is looked for once, and always in the same order: two workers that find the
    same new models in one moment do not wait for each other in a ring.
    """
    alike: dict[tuple[int, str], ModelCall] = {}
    for call in calls:
        if call.experiment_id is not None and call.state == CallState.answered:
            alike.setdefault((call.experiment_id, _seen_key(call)), call)
    known = {
        tuple(row)
        for row in session.execute(
            select(ModelSeen.experiment_id, ModelSeen.seen_key).where(
                tuple_(ModelSeen.experiment_id, ModelSeen.seen_key).in_(list(alike))
            )
        )
    }
    found = [note(session, alike[key]) for key in sorted(alike.keys() - known)]
    return [seen for seen in found if seen is not None]


def note(session: Session, call: ModelCall) -> ModelSeen | None:
    """Remembers what an answered call says of its model, if it is new; None if it was seen before.

    What comes back after it was seen once is not new: endpoints alternate between fingerprints. A change is
    due to pause an experiment that wishes so (`services.model_pauses`). The caller commits.
    """
    said = call.model_returned, call.system_fingerprint
    if call.experiment_id is None or call.state != CallState.answered or not any(said):
        return None
    asked_key = _hash(call.endpoint, call.model_asked)
    seen_key = _seen_key(call)
    of_experiment = select(ModelSeen).where(ModelSeen.experiment_id == call.experiment_id)
    if session.scalars(of_experiment.where(ModelSeen.seen_key == seen_key)).first() is not None:
        return None
    is_known = session.scalars(of_experiment.where(ModelSeen.asked_key == asked_key).limit(1)).first()
    before = _answer_before(session, call) if is_known is not None else None
    before = before or (is_known and (is_known.model_returned, is_known.system_fingerprint))
    row = ModelSeen(
        experiment_id=call.experiment_id,
        asked_key=asked_key,
        seen_key=seen_key,
        endpoint=call.endpoint,
        model_asked=call.model_asked,
        model_returned=call.model_returned,
        system_fingerprint=call.system_fingerprint,
        model_before=before[0] if before else None,
        fingerprint_before=before[1] if before else None,
        since=call.finished_at,
        is_pause_due=before is not None and _pauses(session, call.experiment_id),
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:  # another worker has noted the same in this moment
        return None
    return row


def _answer_before(session: Session, call: ModelCall) -> tuple[str, str] | None:
    """Model and fingerprint of the last answer before this one to the same question that was another.

    Asked for changes only. Others of the same batch may have been answered as this one was, and be stored.
    """
    query = (
        select(ModelCall.model_returned, ModelCall.system_fingerprint)
        .where(
            ModelCall.experiment_id == call.experiment_id,
            ModelCall.started_at <= call.started_at,
            ModelCall.id != call.id,
            ModelCall.endpoint == call.endpoint,
            ModelCall.model_asked == call.model_asked,
            ModelCall.state == CallState.answered,
            or_(
                ModelCall.model_returned != call.model_returned,
                ModelCall.system_fingerprint != call.system_fingerprint,
            ),
        )
        .order_by(ModelCall.started_at.desc(), ModelCall.id.desc())
        .limit(1)
    )
    row = session.execute(query).first()
    return tuple(row) if row is not None and any(row) else None


def difference(seen: ModelSeen) -> tuple[str, str, str]:
    """What changed ("model" or "fingerprint"), before and after, both shortened."""
    what, before, after = "model", seen.model_before or "no name", seen.model_returned or "no name"
    if before == after:
        what = "fingerprint"
        before, after = seen.fingerprint_before or "none", seen.system_fingerprint or "none"
    return what, _short(before), _short(after)


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"


def _pauses(session: Session, experiment_id: int) -> bool:
    query = select(Experiment.pauses_at_model_change).where(Experiment.id == experiment_id)
    return bool(session.scalar(query))


def _seen_key(call: ModelCall) -> str:
    return _hash(call.endpoint, call.model_asked, call.model_returned, call.system_fingerprint)


def _hash(*texts: str) -> str:
    return sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()

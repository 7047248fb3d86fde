"""Which model an endpoint answers with in an experiment, and when that became another one."""

from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain.reasons import CallState
from ..models import ModelCall, ModelSeen


def note(session: Session, call: ModelCall) -> ModelSeen | None:
    """Remembers what an answered call says of its model, if it is new; None if it was seen before.

    What comes back after it was seen once is not new: endpoints alternate between fingerprints. The caller
    commits.
    """
    said = call.model_returned, call.system_fingerprint
    if call.experiment_id is None or call.state != CallState.answered or not any(said):
        return None
    asked_key = _hash(call.endpoint, call.model_asked)
    seen_key = _hash(call.endpoint, call.model_asked, *said)
    of_experiment = select(ModelSeen).where(ModelSeen.experiment_id == call.experiment_id)
    if session.scalars(of_experiment.where(ModelSeen.seen_key == seen_key)).first() is not None:
        return None
    before = session.scalars(
        of_experiment.where(ModelSeen.asked_key == asked_key).order_by(ModelSeen.id.desc()).limit(1)
    ).first()
    row = ModelSeen(
        experiment_id=call.experiment_id,
        asked_key=asked_key,
        seen_key=seen_key,
        endpoint=call.endpoint,
        model_asked=call.model_asked,
        model_returned=call.model_returned,
        system_fingerprint=call.system_fingerprint,
        model_before=before.model_returned if before else None,
        fingerprint_before=before.system_fingerprint if before else None,
        since=call.finished_at,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:  # another worker has noted the same in this moment
        return None
    return row


def _hash(*texts: str) -> str:
    return sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()

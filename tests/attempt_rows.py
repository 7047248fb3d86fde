"""Attempts written straight into the table, as they are after their end: for reports and pages."""

from datetime import timedelta

from pdsapp.attempts.words import decision_sentence
from pdsapp.database import transaction
from pdsapp.domain.decision import TwinState, decide
from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.reasons import REASON_CLASS, AttemptState, Reason, Trigger
from pdsapp.models import Attempt, DigitalTwin, Experiment, Post, PostRevision


def add_row(twin, state="skipped", reason=None, at=None, text="Rain again.", **values):
    """A committed attempt of a twin in this state, asked for at `at`; its id."""
    with transaction() as session:
        return put_row(session, twin, state, reason, at, text, **values).id


def put_row(session, twin, state="skipped", reason=None, at=None, text="Rain again.", **values):
    """An attempt added to a session. `own_count`, `age_hours` and `draw` make its decision, if given."""
    twin = session.get_one(DigitalTwin, twin.id)
    state = AttemptState(state)
    ended = state not in (AttemptState.due, AttemptState.running)
    reason = Reason(reason) if reason else None
    decision = _decision(session, twin, at, values) if "draw" in values else {}
    attempt = Attempt(
        **{
            "experiment_id": twin.experiment_id,
            "digital_twin_id": twin.id,
            "trigger": Trigger.button,
            "state": state,
            "reason": reason,
            "reason_class": REASON_CLASS[reason] if reason else None,
            "created_at": at,
            "not_before": at,
            "changed_at": at,
            "finished_at": at + timedelta(seconds=1) if ended else None,
            **decision,
            **values,
        }
    )
    session.add(attempt)
    session.flush()
    if state == AttemptState.posted:
        attempt.length = len(text)
        post = Post(
            experiment_id=attempt.experiment_id,
            user_profile_id=twin.user_profile_id,
            attempt_id=attempt.id,
            text=text,
            is_stand_in=attempt.is_stand_in,
            created_at=at,
            changed_at=at,
        )
        session.add(post)
        session.flush()
        session.add(PostRevision(post_id=post.id, number=1, text=text, created_at=at))
    return attempt


def _decision(session, twin, at, values):
    """The columns of a decision by the default rule, from what is given in `values`."""
    own, window, age_hours = (
        values.pop("own_count", 0),
        values.pop("window_count", 20),
        values.pop("age_hours", None),
    )
    last_post = None if age_hours is None else at - timedelta(hours=age_hours)
    draw, forced = values.pop("draw"), values.get("is_forced", False)
    verdict = decide(PostingPolicy(), TwinState(at, last_post, own, window), draw, forced)
    experiment = session.get_one(Experiment, twin.experiment_id)
    return {
        "decided_at": at,
        "policy_id": experiment.policy_id,
        "prompt_version_id": experiment.prompt_version_id,
        "persona_version_id": twin.persona_version_id,
        "service": "pdsapp.dt_service:DTService",
        "decision_key": "seed|attempt",
        "last_post_seen": last_post,
        "own_count": own,
        "window_count": window,
        "recency_probability": verdict.recency_probability,
        "share_probability": verdict.share_probability,
        "probability_sum": verdict.probability_sum,
        "skip_probability": verdict.skip_probability,
        "draw": draw,
        "would_post": verdict.would_post,
        "length_band": "short",
        "length_minimum": 80,
        "length_maximum": 139,
        "target_length": 112,
        "detail": decision_sentence(verdict, own, window),
    }

"""Very many twins at once, straight into the tables."""

from sqlalchemy import insert, select

from pdsapp.database import transaction
from pdsapp.models import DigitalTwin, Experiment, TwinTag, UserProfile
from pdsapp.models.base import new_uuid, utc_now

from .builders import make_twin


def add_many(experiment, count, tags=lambda number: (), prefix="t"):
    """Adds active twins to an experiment without any; `tags` gives those of the n-th one. Their ids."""
    first = make_twin(experiment)
    now = utc_now()
    with transaction() as session:
        row = session.get_one(Experiment, experiment.id)
        numbers = range(1, count)
        profiles = [
            {"experiment_id": row.id,
             "username": f"{prefix}_{n}", "username_key": f"{prefix}_{n}",
             "display_name": f"Twin {n}", "bio": "", "is_bot": True, "is_banned": False, "created_at": now}
            for n in numbers
        ]  # fmt: skip
        if profiles:
            session.execute(insert(UserProfile.__table__), profiles)
        query = select(UserProfile.id).where(
            UserProfile.experiment_id == row.id, UserProfile.id != first.user_profile_id
        )
        twins = [
            {"experiment_id": row.id, "user_profile_id": key, "uuid": new_uuid(), "is_active": True,
             "persona_version_id": first.persona_version_id, "active_rank": n, "rank_mark": row.rank_mark,
             "llm_url": "", "llm_model": "", "parameters": {}, "edit_version": 1, "created_at": now}
            for n, key in enumerate(session.scalars(query.order_by(UserProfile.id)), 1)
        ]  # fmt: skip
        if twins:
            session.execute(insert(DigitalTwin.__table__), twins)
        row.active_twin_count = count
        ids = session.scalars(
            select(DigitalTwin.id).where(DigitalTwin.experiment_id == row.id).order_by(DigitalTwin.id)
        ).all()
        tagged = [{"digital_twin_id": key, "tag": tag} for n, key in enumerate(ids) for tag in tags(n)]
        if tagged:
            session.execute(insert(TwinTag.__table__), tagged)
    return ids

"""Dense ranks of the twins that may be drawn: 0 … n−1 within an experiment.

A change swaps with the last rank, in the caller's transaction, with the experiment's row locked.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..models import DigitalTwin, Experiment


def set_active(session: Session, twin: DigitalTwin, is_active: bool) -> None:
    """Activates or deactivates a twin and keeps the ranks dense. The caller commits."""
    experiment = _locked(session, twin)
    if not is_active:
        _drop(session, experiment, twin)
    twin.is_active = is_active
    session.flush()
    refresh_rank(session, twin, experiment)


def refresh_rank(session: Session, twin: DigitalTwin, experiment: Experiment | None = None) -> None:
    """Gives or takes the twin's rank so that it fits `is_active` and its profile's ban.

    The caller commits. Call it after banning or unbanning the profile.
    """
    experiment = experiment or _locked(session, twin)
    is_eligible = twin.is_active and not twin.user_profile.is_banned
    if is_eligible and twin.active_rank is None:
        twin.active_rank = experiment.active_twin_count
        experiment.active_twin_count += 1
        session.flush()
    elif not is_eligible:
        _drop(session, experiment, twin)


def _drop(session: Session, experiment: Experiment, twin: DigitalTwin) -> None:
    rank = twin.active_rank
    if rank is None:
        return
    last = experiment.active_twin_count - 1
    twin.active_rank = None
    experiment.active_twin_count = last
    session.flush()
    if rank != last:
        mover = session.scalars(
            select(DigitalTwin).where(
                DigitalTwin.experiment_id == experiment.id, DigitalTwin.active_rank == last
            )
        ).one()
        mover.active_rank = rank
        session.flush()


def _locked(session: Session, twin: DigitalTwin) -> Experiment:
    """The experiment with its row locked, so that two changes of ranks never interleave.

    The twin's rank is read anew behind the lock: another change may have moved it meanwhile.
    """
    session.flush()
    experiment = session.scalars(
        select(Experiment)
        .where(Experiment.id == twin.experiment_id)
        .with_for_update(of=Experiment, key_share=True)
        .execution_options(populate_existing=True)
    ).one()
    session.refresh(twin, ["active_rank", "is_active"])
    return experiment

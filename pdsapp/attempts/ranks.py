"""Dense ranks of the twins that may be drawn: 0 … n−1 within an experiment.

A change swaps with the last rank, in the caller's transaction, with the experiment's row locked.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Row, Select, bindparam, select, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from ..errors import NotFound
from ..models import DigitalTwin, Experiment, UserProfile

KEYS_AT_ONCE = 500
GONE = "This twin is not there any more: somebody else has deleted it. Nothing was changed."


def set_active(session: Session, twin: DigitalTwin, is_active: bool) -> None:
    """Activates or deactivates a twin and keeps the ranks dense. The caller commits."""
    experiment = _locked(session, twin)
    if not is_active:
        _drop(session, experiment, twin)
    twin.is_active = is_active
    session.flush()
    refresh_rank(session, twin, experiment)


def set_active_many(
    session: Session, experiment: Experiment, twin_ids: Sequence[int], is_active: bool
) -> None:
    """Activates or deactivates these twins of one experiment and keeps the ranks dense. The caller commits.

    In portions of statements; banned ones get no rank. Costs by how many they are: besides them it reads as
    many at most, those with the last ranks.
    """
    session.flush()
    session.execute(_locking(experiment.id)).all()
    session.refresh(experiment, ["active_twin_count", "rank_mark"])
    rows = _rows_of(session, experiment.id, sorted(set(twin_ids)))
    before = experiment.active_twin_count
    if is_active:
        _switch(session, [row.id for row in rows], True)
        new = [row.id for row in rows if row.active_rank is None and not row.is_banned]
        experiment.rank_mark += 1
        _put_ranks(session, {key: before + number for number, key in enumerate(new)}, experiment.rank_mark)
        count = before + len(new)
    else:
        gone = {row.active_rank: row.id for row in rows if row.active_rank is not None}
        count = before - len(gone)
        movers = [key for key, rank in _last_ranks(session, experiment.id, count) if rank not in gone]
        _put_ranks(session, dict.fromkeys([*gone.values(), *movers]))
        _put_ranks(session, dict(zip(movers, sorted(rank for rank in gone if rank < count), strict=True)))
        _switch(session, [row.id for row in rows], False)
    experiment.active_twin_count = count
    session.flush()
    for row in [each for each in session if isinstance(each, DigitalTwin)]:
        session.expire(row)


def _rows_of(session: Session, experiment_id: int, keys: Sequence[int]) -> list[Row]:
    """Those of these twins that are the experiment's, by id."""
    query = (
        select(DigitalTwin.id, DigitalTwin.active_rank, UserProfile.is_banned)
        .join(UserProfile, UserProfile.id == DigitalTwin.user_profile_id)
        .where(DigitalTwin.experiment_id == experiment_id)
        .order_by(DigitalTwin.id)
    )
    found: list[Row] = []
    for first in range(0, len(keys), KEYS_AT_ONCE):
        found += session.execute(query.where(DigitalTwin.id.in_(keys[first : first + KEYS_AT_ONCE])))
    return found


def _last_ranks(session: Session, experiment_id: int, first: int) -> list[tuple[int, int]]:
    """The twins with this rank or a later one, by id, each with its rank."""
    query = select(DigitalTwin.id, DigitalTwin.active_rank).where(
        DigitalTwin.experiment_id == experiment_id, DigitalTwin.active_rank >= first
    )
    return sorted((key, rank) for key, rank in session.execute(query))


def _switch(session: Session, keys: Iterable[int], is_active: bool) -> None:
    table = DigitalTwin.__table__
    statement = update(table).where(table.c.id == bindparam("of_id")).values(is_active=is_active)
    if values := [{"of_id": key} for key in keys]:
        session.connection().execute(statement, values)


def _put_ranks(session: Session, ranks: Mapping[int, int | None], mark: int | None = None) -> None:
    """Writes these ranks; with a mark, that of twins which have had none until now."""
    table = DigitalTwin.__table__
    marked = {} if mark is None else {"rank_mark": mark}
    statement = update(table).where(table.c.id == bindparam("of_id"))
    statement = statement.values(active_rank=bindparam("to_rank"), **marked)
    if ranks:
        session.connection().execute(
            statement, [{"of_id": key, "to_rank": rank} for key, rank in ranks.items()]
        )


def refresh_rank(session: Session, twin: DigitalTwin, experiment: Experiment | None = None) -> None:
    """Gives or takes the twin's rank so that it fits `is_active` and its profile's ban.

    The caller commits. Call it after banning or unbanning the profile.
    """
    experiment = experiment or _locked(session, twin)
    is_eligible = twin.is_active and not twin.user_profile.is_banned
    if is_eligible and twin.active_rank is None:
        experiment.rank_mark += 1
        twin.rank_mark = experiment.rank_mark
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

    The twin's rank is read anew behind the lock: another change may have moved it meanwhile. Raises NotFound
    for a twin that was deleted meanwhile.
    """
    session.flush()
    experiment = session.scalars(_locking(twin.experiment_id)).one()
    try:
        session.refresh(twin, ["active_rank", "is_active"])
    except InvalidRequestError:
        raise NotFound(GONE) from None
    return experiment


def _locking(experiment_id: int) -> Select[tuple[Experiment]]:
    return (
        select(Experiment)
        .where(Experiment.id == experiment_id)
        .with_for_update(of=Experiment, key_share=True)
        .execution_options(populate_existing=True)
    )

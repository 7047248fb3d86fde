"""Drawing twins: uniform among the eligible ones, from a key that is stored with the attempt."""

from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.randomness import Stream, key_of
from ..domain.reasons import ASKING_STATES, ExperimentState
from ..domain.targets import EVERYBODY, Target
from ..models import DigitalTwin, Experiment, Installation
from .targets import candidates

SELECTION_PURPOSE = "selection"


@dataclass(frozen=True)
class Pick:
    """A drawn twin: its rank among `candidate_count` candidates, and the key it was drawn with.

    `ordinal` counts the twins drawn with one key, from 0.
    """

    twin_id: int
    experiment_id: int
    key: str
    ordinal: int
    rank: int
    candidate_count: int


def slot_key(seed: str, schedule_uuid: object, slot_at: datetime) -> str:
    """The selection key of a slot."""
    return key_of(seed, schedule_uuid, slot_at.isoformat())


def request_key(seed: str, request_id: str) -> str:
    """The selection key of a request that is not a slot."""
    return key_of(seed, "request", request_id)


def installation_seed(session: Session) -> str:
    """The seed of this installation."""
    return session.scalars(select(Installation.seed)).one()


def ranks_for(key: str, candidate_count: int, count: int) -> list[int]:
    """The first `count` (or all) of a uniformly random order of 0 … candidate_count−1."""
    return list(islice(Stream(key, SELECTION_PURPOSE).distinct_below(candidate_count), count))


def draw_twins(
    session: Session, experiment: Experiment | None, count: int, key: str, target: Target = EVERYBODY
) -> list[Pick]:
    """Up to `count` distinct twins, uniform among the eligible of one experiment, or of all that run.

    A draft's twins are drawn only for itself. Over all experiments, each is drawn in proportion to its
    eligible twins. A `target` narrows those of one experiment: ranks then count its eligible twins in the
    order of their ids. Empty when nobody is eligible. Costs one query for the experiments and one for the
    twins, however many there are; with a target, one for its eligible twins.
    """
    running = [e for e in experiments_of(session, experiment) if e.active_twin_count > 0]
    if not target.is_everybody:
        return _draw_of_target(session, experiment, count, key, target) if running and experiment else []
    total = sum(e.active_twin_count for e in running)
    if total == 0:
        return []
    places = {rank: _place(running, rank) for rank in ranks_for(key, total, count)}
    twins = _twins_at(session, set(places.values()))
    return [
        Pick(twins[place], place[0], key, ordinal, rank, total)
        for ordinal, (rank, place) in enumerate(places.items())
        if place in twins
    ]


def _draw_of_target(
    session: Session, experiment: Experiment, count: int, key: str, target: Target
) -> list[Pick]:
    found = session.scalars(candidates(experiment.id, target)).all()
    return [
        Pick(found[rank], experiment.id, key, ordinal, rank, len(found))
        for ordinal, rank in enumerate(ranks_for(key, len(found), count))
    ]


def experiments_of(session: Session, experiment: Experiment | None) -> list[Experiment]:
    """The experiments whose twins are drawn: this one if it asks twins at present, or all that run."""
    if experiment is not None:
        return [experiment] if experiment.state in ASKING_STATES else []
    query = select(Experiment).where(Experiment.state == ExperimentState.running).order_by(Experiment.id)
    return list(session.scalars(query))


def _place(experiments: list[Experiment], rank: int) -> tuple[int, int]:
    for experiment in experiments:
        if rank < experiment.active_twin_count:
            return experiment.id, rank
        rank -= experiment.active_twin_count
    raise IndexError(rank)


def _twins_at(session: Session, places: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
    by_experiment: dict[int, list[int]] = {}
    for experiment_id, rank in places:
        by_experiment.setdefault(experiment_id, []).append(rank)
    found = {}
    for experiment_id, ranks in by_experiment.items():
        for start in range(0, len(ranks), 500):
            rows = session.execute(
                select(DigitalTwin.active_rank, DigitalTwin.id).where(
                    DigitalTwin.experiment_id == experiment_id,
                    DigitalTwin.active_rank.in_(ranks[start : start + 500]),
                )
            )
            found.update({(experiment_id, rank): twin_id for rank, twin_id in rows})
    return found

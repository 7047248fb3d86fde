"""Drawing the twins of a slot that asks very many: in a walk by id, in pieces that cost the same.

Whom it may ask is settled when the slot is claimed: the twins that could be asked then, told by the mark of
their experiment. One that is deactivated, banned or deleted before its turn is gone, and nobody takes its
place; one that is activated later, even again, is not of it. Of a target by tags, the tags count at the turn.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ..domain.reasons import ASKING_STATES
from ..domain.sampling import Walk, walk_key, wanted_of
from ..domain.targets import Target
from ..models import DigitalTwin, Experiment, TwinTag
from .selection import Pick, experiments_of
from .targets import reach

# So many ids are read at most for one piece: of 1,000,000 twins a slot may ask but 2,000.
MOST_READ = 10_000
KEYS_AT_ONCE = 500


@dataclass(frozen=True)
class Range:
    """The twins of one experiment a draw walks along: `count` that have a rank, with a mark up to `mark`."""

    experiment_id: int
    count: int
    mark: int


@dataclass(frozen=True)
class BigDraw:
    """A draw that was settled and not yet made: whom it walks along, with which key."""

    key: str
    ranges: tuple[Range, ...]

    @property
    def candidate_count(self) -> int:
        """How many could be asked when it was settled."""
        return sum(each.count for each in self.ranges)

    @property
    def wanted(self) -> int:
        """How many are drawn."""
        return min(wanted_of(self.key) or 0, self.candidate_count)

    def to_dict(self) -> dict[str, Any]:
        """What is stored with the slot."""
        ranges = [[each.experiment_id, each.count, each.mark] for each in self.ranges]
        return {"key": self.key, "ranges": ranges}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "BigDraw":
        """The draw that was stored. Raises KeyError, TypeError or ValueError for what is none."""
        return cls(str(value["key"]), tuple(Range(*map(int, each)) for each in value["ranges"]))


@dataclass(frozen=True)
class Cursor:
    """How far a draw is: in which range, behind which twin's id, after how many places and chosen ones."""

    range: int = 0
    after_id: int = 0
    seen: int = 0
    made: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What is stored with the slot."""
        return asdict(self)


@dataclass(frozen=True)
class Piece:
    """The next twins of a draw, how many of those drawn are `gone`, and how far it is now."""

    picks: list[Pick]
    gone: int
    cursor: Cursor
    is_last: bool


def settle(
    session: Session, experiment: Experiment | None, count: int | None, key: str, target: Target
) -> BigDraw:
    """The draw of `count` twins, None for each, among those that can be asked now. Cheap but for a target,
    whose twins are counted."""
    found = [each for each in experiments_of(session, experiment) if each.active_twin_count > 0]
    counts = [each.active_twin_count for each in found]
    if not target.is_everybody and found:
        counts = [reach(session, found[0].id, target)[0]]
    of_all = sum(counts)
    wanted = of_all if count is None else min(count, of_all)
    ranges = tuple(Range(e.id, n, e.rank_mark) for e, n in zip(found, counts, strict=True))
    return BigDraw(walk_key(key, wanted), ranges)


def next_piece(session: Session, draw: BigDraw, target: Target, cursor: Cursor, most: int) -> Piece:
    """The next twins of a draw, at most `most`, from what the rows say now. Reads 10,000 ids at most."""
    walk = Walk(draw.key, draw.candidate_count, draw.wanted, cursor.seen, cursor.made)
    at, after_id = cursor.range, cursor.after_id
    if at >= len(draw.ranges) or walk.is_over:
        return Piece([], walk.wanted - walk.made, cursor, True)
    here = draw.ranges[at]
    end = sum(each.count for each in draw.ranges[: at + 1])
    left = end - walk.seen
    readable = min(left, most if walk.wanted >= walk.of else MOST_READ)
    ids = _ids_of(session, here, target, after_id, readable)
    chosen = walk.passed(len(ids), most)
    first = cursor.seen
    picks = [
        Pick(ids[place - first], here.experiment_id, draw.key, ordinal, place, draw.candidate_count)
        for place, ordinal in chosen
    ]
    passed = walk.seen - first
    after_id = ids[passed - 1] if passed else after_id
    gone = 0
    if (passed == len(ids) and len(ids) < readable) or walk.seen >= end:  # nobody is left in this range
        gone = len(walk.passed(end - walk.seen))
        at, after_id = at + 1, 0
    is_last = walk.is_over or at >= len(draw.ranges)
    return Piece(picks, gone, Cursor(at, after_id, walk.seen, walk.made), is_last)


def listed(picks: Sequence[Pick]) -> dict[str, Any]:
    """What is stored of a draw that was made, for attempts to be made of it later."""
    keys = list(dict.fromkeys(pick.key for pick in picks))
    number = {key: index for index, key in enumerate(keys)}
    rows = [[p.twin_id, p.experiment_id, number[p.key], p.ordinal, p.rank, p.candidate_count] for p in picks]
    return {"keys": keys, "picks": rows}


def next_listed(session: Session, stored: dict[str, Any], cursor: Cursor, most: int) -> Piece:
    """The next of the listed twins that can still be asked. Raises KeyError, TypeError or ValueError for what
    is no list."""
    keys, rows = stored["keys"], stored["picks"]
    part = [
        Pick(twin, experiment, keys[key], ordinal, rank, count)
        for twin, experiment, key, ordinal, rank, count in rows[cursor.seen : cursor.seen + most]
    ]
    there: set[int] = set()
    for first in range(0, len(part), KEYS_AT_ONCE):
        query = (
            select(DigitalTwin.id)
            .join(Experiment, Experiment.id == DigitalTwin.experiment_id)
            .where(
                DigitalTwin.id.in_([pick.twin_id for pick in part[first : first + KEYS_AT_ONCE]]),
                DigitalTwin.active_rank.is_not(None),
                Experiment.state.in_(ASKING_STATES),
            )
        )
        there |= set(session.scalars(query))
    picks = [pick for pick in part if pick.twin_id in there]
    seen = cursor.seen + len(part)
    return Piece(picks, len(part) - len(picks), Cursor(seen=seen, made=seen), seen >= len(rows))


def _ids_of(session: Session, here: Range, target: Target, after_id: int, most: int) -> Sequence[int]:
    if most < 1:
        return []
    experiment = session.get(Experiment, here.experiment_id)
    if experiment is None or experiment.state not in ASKING_STATES:
        return []
    return session.scalars(_candidates(here, target, after_id).limit(most)).all()


def _candidates(here: Range, target: Target, after_id: int) -> Select[tuple[int]]:
    query = select(DigitalTwin.id).where(
        DigitalTwin.experiment_id == here.experiment_id,
        DigitalTwin.id > after_id,
        DigitalTwin.active_rank.is_not(None),
        DigitalTwin.rank_mark <= here.mark,
    )
    if target.tags:  # not as a draw finds them: that would read all of the tag for each piece
        has_tag = select(TwinTag.tag).where(
            TwinTag.digital_twin_id == DigitalTwin.id, TwinTag.tag.in_(target.tags)
        )
        query = query.where(has_tag.exists())
    return query.order_by(DigitalTwin.id)

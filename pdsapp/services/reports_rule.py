"""Whether twins behave as the policy says: how often the draw kept them silent, how long their posts are."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from ..domain.policy import PostingPolicy
from ..models import Experiment
from .facets import LENGTHS, PROBABILITIES
from .reports import Tally
from .rollups import Marks
from .tallying import Stretch, count

TENTHS = 11
# So many standard errors from what was to be expected say that something is wrong.
FAR = 4.0


@dataclass(frozen=True)
class Tenth:
    """Unforced attempts whose skip probability lay in [`low`, `high`): how many, and how many were silent.

    The last one is of those whose probability was 1. `expected` is the sum of their probabilities.
    """

    low: float
    high: float
    asked: int
    silent: int
    expected: float

    @property
    def is_far(self) -> bool:
        """Whether chance alone does not explain the difference: more than four standard errors."""
        if not self.asked:
            return False
        mean = self.expected / self.asked
        error = (self.asked * mean * (1 - mean)) ** 0.5
        return abs(self.silent - self.expected) > max(FAR * error, 0.5)


@dataclass(frozen=True)
class BandCount:
    """Posts whose length was drawn in a band, and how many of them kept to it.

    `wanted_share` is what the policy in force gives the band, 0–1; None of a band it does not have.
    """

    name: str
    posts: int
    within: int
    shorter: int
    longer: int
    wanted_share: float | None
    limits: tuple[int, int] | None


def calibration(
    session: Session,
    experiment: Experiment | None,
    stretch: Stretch,
    marks: Marks,
    waiting: Iterable[Tally] = (),
) -> tuple[Tenth, ...]:
    """The ten tenths of skip probabilities from 0 on, and those of 1; also those without an attempt.

    `waiting` are those of the stretch that are decided and have not ended.
    """
    sums = {tenth: [0, 0, 0.0] for tenth in range(TENTHS)}
    for tally in waiting:
        if not tally.is_rehearsal:
            sums[tally.tenth][0] += tally.count
            sums[tally.tenth][2] += tally.expected
    for _, tenth, is_silent, asked, expected in count(session, PROBABILITIES, experiment, [stretch], marks):
        of_tenth = sums[min(max(tenth, 0), TENTHS - 1)]
        of_tenth[0] += asked
        of_tenth[1] += asked if is_silent else 0
        of_tenth[2] += expected
    return tuple(Tenth(tenth / 10, min(1.0, (tenth + 1) / 10), *of_tenth) for tenth, of_tenth in sums.items())


def lengths(
    session: Session,
    experiment: Experiment | None,
    policy: PostingPolicy | None,
    stretch: Stretch,
    marks: Marks,
) -> tuple[BandCount, ...]:
    """The bands of the policy in force in its order, then others that were drawn in the period.

    Without a policy, as for all experiments, only those that were drawn.
    """
    sums: dict[str, dict[str, int]] = {}
    for _, band, fit, posts in count(session, LENGTHS, experiment, [stretch], marks):
        sums.setdefault(band, {"within": 0, "shorter": 0, "longer": 0})[fit] += posts
    bands = {band.name: band for band in policy.bands} if policy else {}
    whole = sum(band.weight for band in bands.values())
    names = [*bands, *sorted(sums.keys() - bands.keys())]
    return tuple(
        BandCount(
            name=name,
            posts=sum(sums.get(name, {}).values()),
            **sums.get(name, {"within": 0, "shorter": 0, "longer": 0}),
            wanted_share=bands[name].weight / whole if name in bands else None,
            limits=(bands[name].minimum, bands[name].maximum) if name in bands else None,
        )
        for name in names
    )

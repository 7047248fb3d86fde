"""Everything the dashboard counts over a period, taken together so that its parts have the same sums."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from ..domain.policy import PolicyError, PostingPolicy
from ..models import Experiment
from . import reports, reports_calls, reports_posts, reports_rule
from .reports import Bin, Counts, Period, Tally
from .reports_calls import EndpointCalls
from .reports_posts import Authors, PostTimes
from .reports_rule import BandCount, Tenth
from .rollups import Marks
from .tallying import Stretch, consistently


@dataclass(frozen=True)
class Report:
    """The sums of one experiment, or of all, over a period up to `now`; rehearsals only in `tallies`."""

    period: Period
    stretch: Stretch
    now: datetime
    tallies: tuple[Tally, ...]
    bins: Sequence[Bin]
    tenths: tuple[Tenth, ...]
    bands: tuple[BandCount, ...]
    endpoints: tuple[EndpointCalls, ...]
    times: PostTimes
    authors: Authors

    @property
    def current(self) -> list[Tally]:
        """The groups of attempts asked in the period."""
        return [tally for tally in self.tallies if tally.is_current]

    @property
    def counts(self) -> Counts:
        return reports.counts(self.current)

    @property
    def before(self) -> Counts:
        """The same sums of the period before."""
        return reports.counts(tally for tally in self.tallies if not tally.is_current)

    @property
    def rehearsed(self) -> int:
        """How many attempts of the period were rehearsals."""
        return sum(tally.count for tally in self.current if tally.is_rehearsal)


def report(
    session: Session, experiment: Experiment | None, period: Period, now: datetime, zone: ZoneInfo
) -> Report:
    """The report, in a fixed number of queries; hours and days are those of `zone`."""
    stretch, policy = period.stretch(now), _policy_of(experiment)

    def counted(marks: Marks) -> Report:
        tallies = tuple(reports.tallies(session, experiment, period, now, marks))
        waiting = [each for each in tallies if each.tenth is not None and each.is_current]
        return Report(
            period=period,
            stretch=stretch,
            now=now,
            tallies=tallies,
            bins=reports.bins(
                reports.ended_by_block(session, experiment, period, now, zone, marks), period, now, zone
            ),
            tenths=reports_rule.calibration(session, experiment, stretch, marks, waiting),
            bands=reports_rule.lengths(session, experiment, policy, stretch, marks),
            endpoints=reports_calls.endpoint_calls(session, experiment, stretch, marks),
            times=reports_posts.post_times(session, experiment, stretch, zone, marks),
            authors=reports_posts.authors(session, experiment, stretch, marks),
        )

    return consistently(session, counted)


def _policy_of(experiment: Experiment | None) -> PostingPolicy | None:
    try:
        return PostingPolicy.from_dict(experiment.policy.body) if experiment else None
    except PolicyError:
        return None

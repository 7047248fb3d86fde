"""Why attempts came to no post: the dashboard's groups of reasons, their bars and their table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flask import url_for

from ...domain.reasons import REASON_WORDS, Reason, ReasonClass
from ...services import reports
from ..charts import HBar, hbars
from .figures import Figure

REASON_SERIES = {
    Reason.recency: "recency",
    Reason.share: "share",
    Reason.recency_and_share: "skipped",
}
CLASS_SERIES = {ReasonClass.rule: "skipped", ReasonClass.limit: "due", ReasonClass.operational: "paused"}
CLASS_TITLES = {
    ReasonClass.rule: "The rule's draw",
    ReasonClass.limit: "Held back by limits",
    ReasonClass.operational: "Operational",
}


@dataclass(frozen=True)
class Silence:
    """One group: reasons with their counts. `series` colours those that have no colour of their own, `where`
    narrows the list of attempts to the group's."""

    title: str
    series: str
    reasons: dict[Reason, int]
    where: dict[str, str]

    @property
    def total(self) -> int:
        return sum(self.reasons.values())


def silences(current: Sequence[reports.Tally]) -> list[Silence]:
    """The groups by class; what was called off comes last, if anything was."""
    found = [
        Silence(CLASS_TITLES[cls], CLASS_SERIES[cls], of_class, held_by(cls))
        for cls, of_class in reports.reasons(current, reports.SILENT).items()
    ]
    called_off: Counter[Reason] = Counter()
    for of_class in reports.reasons(current, ("cancelled",)).values():
        called_off.update(of_class)
    if called_off:
        found.append(Silence("Called off", "skipped", dict(called_off.most_common()), {"state": "cancelled"}))
    return found


def held_by(cls: ReasonClass) -> dict[str, str]:
    """What narrows the list to attempts of a class that were not to post: a limit also calls off drafts."""
    return {} if cls == ReasonClass.limit else {"state": "skipped"}


def bars(found: Sequence[Silence]) -> list[tuple[str, int, tuple[HBar, ...]]]:
    """(title, attempts, bars) of each group, all bars of one scale; nothing if nobody was silent."""
    top = max((count for each in found for count in each.reasons.values()), default=0)
    return [(each.title, each.total, _bars(each, top)) for each in found] if top else []


def figure(found: Sequence[Silence]) -> Figure:
    """Reasons with their group and count."""
    rows = [
        (REASON_WORDS[reason], each.title, count) for each in found for reason, count in each.reasons.items()
    ]
    return Figure("silence", "Why twins stayed silent", ("Reason", "by", "attempts"), rows)


def _bars(silence: Silence, top: int) -> tuple[HBar, ...]:
    rows = [
        (
            REASON_WORDS[reason],
            count,
            REASON_SERIES.get(reason, silence.series),
            url_for("activity.stream", **silence.where, reason=reason.value),
        )
        for reason, count in silence.reasons.items()
    ]
    return hbars(rows, top=top)

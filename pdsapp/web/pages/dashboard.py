"""The dashboard: is it running, what was said, why are twins silent, what comes next."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, render_template, request, url_for
from sqlalchemy.orm import Session

from ...domain.quoting import quote
from ...domain.reasons import REASON_WORDS, Reason, ReasonClass
from ...errors import NotFound
from ...extensions import db
from ...models import Experiment, ProtocolChange, utc_now
from ...services import exports, protocol, reports, reports_attempts, reports_now
from ...services.editing import is_open
from ...services.ledger import Ledger, kind_words, of_period
from ...services.reports import PERIODS, Counts, Period
from ...services.reports_period import Report, report
from .. import access, frame
from ..charts import HBar, StackedBars
from . import figures, links, next_slots, over_time, silences
from .attention import Attention, attention_list
from .figures import Figure
from .rows import AttemptRow, attempt_row

FIRST_PERIOD = "24h"
SLOTS_SHOWN = 6
ATTEMPTS_SHOWN = 10
Drawn = TypeVar("Drawn", figures.Calibration, figures.Lengths, figures.When, figures.Who, figures.Endpoints)
LONG = 100_000
FEW = 10  # below this a change in percent says nothing
routes = Blueprint("dashboard", __name__)


@dataclass(frozen=True)
class Invitation:
    """What an empty part of the page says: why, and one way on."""

    words: str
    url: str = ""
    button: str = ""


@dataclass(frozen=True)
class Dashboard:
    """What templates/web/dashboard.html draws; its top comment says what each part is."""

    lead: str
    periods: list[tuple[str, str, bool]]
    attention: list[Attention]
    kpis: list[tuple[str, str, str, str]]
    ledger: str
    ledger_is_balanced: bool
    chart: StackedBars
    over_time: Figure
    chart_title: str
    chart_note: str
    changes: list[tuple[datetime, str, str]]
    changes_url: str
    zone: ZoneInfo
    why: list[tuple[str, int, tuple[HBar, ...]]]
    silence: Figure
    why_note: str
    calibration: figures.Calibration
    lengths: figures.Lengths
    when: figures.When
    who: figures.Who
    endpoints: figures.Endpoints
    period_words: str
    slots: list[next_slots.SlotRow]
    slots_note: str
    no_slots: Invitation
    schedules_url: str
    attempts: list[AttemptRow]
    attempts_url: str
    no_attempts: Invitation
    with_experiment: bool
    post_now_url: str


@routes.route("/dashboard/<key>.csv")
def figure(key: str):
    """The numbers of one drawing as a file, for the period and the experiment in the address."""
    session, now = db.session(), utc_now()
    experiment = None
    if text := request.args.get("experiment", "").strip():
        experiment = frame.addressed_experiment(session, text)
    period, zone = _period(), _zone(experiment)
    found = report(session, experiment, period, now, zone)
    made = {each.key: each for each in _figures(found, period, zone)}
    if key not in made:
        known = ", ".join(sorted(made))
        raise NotFound(f"The dashboard has no figure {quote(key[:40])}. Known: {known}.")
    if key == figures.WHO and access.takes_file():  # the only one with names in it
        exports.note("most frequent authors", experiment.id if experiment else None, now, access.account())
    answer = Response(figures.csv_text(made[key]), mimetype="text/csv")
    name = f"{key}-{period.key}-{now.astimezone(zone):%Y%m%dT%H%M}.csv"
    answer.headers["Content-Disposition"] = f"attachment; filename={name}"
    return answer


def render_dashboard() -> str:
    """The dashboard as HTML, of the chosen experiment or of all, for the period in the address."""
    page = _page(db.session(), frame.current_experiment(), _period(), utc_now())
    return render_template("web/dashboard.html", page=page)


def _period() -> Period:
    return PERIODS.get(request.args.get("period", ""), PERIODS[FIRST_PERIOD])


def _zone(experiment: Experiment | None) -> ZoneInfo:
    return ZoneInfo(experiment.zone if experiment else "UTC")


def _figures(found: Report, period: Period, zone: ZoneInfo) -> list[Figure]:
    """Every figure there is, for those who want the numbers alone."""
    return [
        figures.over_time_figure(found, over_time.words_of(found.bins, period, zone)),
        silences.figure(silences.silences(found.current)),
        figures.calibration(found.tenths).figure,
        figures.lengths(found.bands).figure,
        figures.when(found.times).figure,
        figures.who(found.times, found.authors, [""] * len(found.authors.shown)).figure,
        figures.endpoints(found.endpoints).figure,
    ]


def _page(session: Session, experiment: Experiment | None, period: Period, now: datetime) -> Dashboard:
    zone = _zone(experiment)
    found = report(session, experiment, period, now, zone)
    counts, current, since = found.counts, found.current, found.stretch.starts_at
    twins = reports.twin_counts(session, experiment)
    books = of_period(session, experiment, current, since, now)
    happening = reports_now.alive_of(session, now)
    schedules = reports_now.schedule_counts(session, experiment)
    lines = reports_attempts.latest(session, experiment, ATTEMPTS_SHOWN)
    marked = protocol.changes_between(session, experiment, since, now)
    silent = silences.silences(current)
    covered = over_time.words_of(found.bins, period, zone)
    urls = [links.details("userprofile", author.profile_id) for author in found.authors.shown]

    def with_file(made: Figure) -> Figure:
        return figures.addressed(made, experiment, period)

    return Dashboard(
        lead=_lead(experiment, period, zone, now),
        periods=[
            (each.short, url_for("admin.index", period=each.key), each == period) for each in PERIODS.values()
        ],
        attention=attention_list(session, experiment, happening, twins, books, now),
        kpis=_kpis(found, twins),
        ledger=_ledger_words(books, found.rehearsed),
        ledger_is_balanced=books.adds_up,
        chart=over_time.chart(found.bins, covered, period, zone, marked),
        over_time=with_file(figures.over_time_figure(found, covered)),
        chart_title=f"Attempts per {period.bin_words}",
        chart_note=f"by when they were asked, {zone.key}",
        changes=[(each.made_at, _change_words(each, experiment), each.reason) for each in marked],
        changes_url=_changes_url(experiment) if marked and experiment else "",
        zone=zone,
        why=silences.bars(silent),
        silence=with_file(silences.figure(silent)),
        why_note=f"{_silent(counts):,} silent or held back, last {period.words}",
        calibration=_with(figures.calibration(found.tenths), with_file),
        lengths=_with(figures.lengths(found.bands), with_file),
        when=_with(figures.when(found.times), with_file),
        who=_with(figures.who(found.times, found.authors, urls), with_file),
        endpoints=_with(figures.endpoints(found.endpoints), with_file),
        period_words=f"last {period.words}",
        slots=next_slots.slot_rows(session, experiment, now, SLOTS_SHOWN),
        slots_note=_schedules_words(*schedules),
        no_slots=_no_slots(experiment, *schedules),
        schedules_url=links.to("schedule.index_view"),
        attempts=[attempt_row(line, zone) for line in lines],
        attempts_url=url_for("activity.stream"),
        no_attempts=_no_attempts(experiment, twins),
        with_experiment=experiment is None,
        post_now_url=links.to("digitaltwin.index_view") if twins.total and _may_ask(experiment) else "",
    )


def _with(drawn: Drawn, with_file: Callable[[Figure], Figure]) -> Drawn:
    return replace(drawn, figure=with_file(drawn.figure))


def _may_ask(experiment: Experiment | None) -> bool:
    return access.may_write() and (experiment is None or is_open(experiment))


def _lead(experiment: Experiment | None, period: Period, zone: ZoneInfo, now: datetime) -> str:
    local = now.astimezone(zone)
    parts = [
        f"Last {period.words}",
        f"times in {zone.key} ({local:%Z})" if zone.key != "UTC" else "times in UTC",
    ]
    parts.append(f"as of {local:%H:%M:%S}")
    if experiment and experiment.is_demo:
        parts.append("a demo: twins without a token are written by the offline writer")
    return " · ".join(parts)


def _kpis(found: Report, twins: reports.TwinCounts) -> list[tuple[str, str, str, str]]:
    counts, before, span = found.counts, found.before, found.period.short
    part = {"part": "study"} if found.rehearsed else {}  # what is listed is what was counted

    def tile(label: str, name: str, note: str = "", **wanted: str):
        now, then = getattr(counts, name), getattr(before, name)
        change = change_words(now, then, span) if before.asked else ""
        words = " · ".join(part for part in (note, change) if part)
        url = url_for("activity.stream", **wanted, **part) if wanted else ""
        return label, short_number(now), words, url

    rate = ""
    if counts.ruled:
        rate = f"{percent_words(counts.ruled_silent, counts.ruled)} of {counts.ruled:,} unforced draws"
    held = (
        f"{counts.held_by_limits:,} limits, {counts.held_operational:,} operational"
        if counts.held_back
        else ""
    )
    mostly = ReasonClass.limit if counts.held_by_limits > counts.held_operational else ReasonClass.operational
    commonest = _commonest(reports.reasons(found.current, ("failed",)))
    return [
        tile("Posted", "posted", state="posted"),
        tile("Skipped by rule", "skipped_by_rule", rate, state="skipped", **{"class": "rule"}),
        tile("Held back", "held_back", held, **silences.held_by(mostly), **{"class": mostly.value}),
        tile("Failed", "failed", f"mostly “{REASON_WORDS[commonest]}”" if commonest else "", state="failed"),
        ("Active twins", f"{twins.active:,}", _twins_note(found, twins), links.to("digitaltwin.index_view")),
        tile("Tokens used", "tokens", f"{counts.tokens:,}" if counts.tokens >= LONG else ""),
    ]


def _twins_note(found: Report, twins: reports.TwinCounts) -> str:
    if twins.total == 0:
        return "none yet"
    authors = found.authors
    words = ["all there are" if twins.active == twins.total else f"of {twins.total:,}"]
    if authors.twin_count or authors.twin_count_before:
        words.append(f"{authors.twin_count:,} posted")
    if found.before.asked:
        words.append(change_words(authors.twin_count, authors.twin_count_before, found.period.short))
    return " · ".join(words)


def short_number(number: int) -> str:
    """The number, from 100,000 on in thousands or millions: "412k", "3.1M"."""
    if number < LONG:
        return f"{number:,}"
    return f"{number / 1_000:,.0f}k" if number < 1_000_000 else f"{number / 1_000_000:,.1f}M"


def change_words(now: int, before: int, span: str) -> str:
    """How a count compares with the period before: "+8 % on the 24 h before", "3 in the 24 h before"."""
    if before == 0:
        return f"none in the {span} before"
    if before < FEW:
        return f"{before} in the {span} before"
    change = round(100 * (now - before) / before)
    if change == 0:
        return f"as in the {span} before"
    return f"{'+' if change > 0 else '−'}{abs(change):,} % on the {span} before"


def percent_words(part: int, whole: int) -> str:
    """A share in whole percent; "<1 %" and ">99 %" rather than a wrong 0 or 100."""
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "<1 %"
    return ">99 %" if 99 < percent < 100 else f"{percent:.0f} %"


def _commonest(failures: dict[ReasonClass, dict[Reason, int]]) -> Reason | None:
    everything = [(count, reason) for of_class in failures.values() for reason, count in of_class.items()]
    return max(everything, key=lambda pair: pair[0])[1] if everything else None


def _change_words(change: ProtocolChange, experiment: Experiment | None) -> str:
    """What was changed; of which experiment, where the page shows several."""
    return change.summary if experiment else f"{change.experiment}: {change.summary}"


def _changes_url(experiment: Experiment) -> str:
    return links.to("experiment.protocol", id=experiment.id)


def _ledger_words(books: Ledger, rehearsed: int) -> str:
    """The sums of all rows: unlike tiles and chart, the ledger counts rehearsals, for it has to add up."""
    slots = kind_words(books.slots, ", ")
    verdict = "It adds up." if books.adds_up else "It does not add up: " + " ".join(books.problems)
    aside = f", {rehearsed:,} of them in rehearsal" if rehearsed else ""
    return f"Ledger: {books.sentence}{aside}. {f'Slots: {slots}. ' if slots else ''}{verdict}"


def _silent(counts: Counts) -> int:
    return counts.skipped_by_rule + counts.held_back


def _schedules_words(total: int, enabled: int) -> str:
    if total == enabled:
        return "" if total == 0 else f"{total} schedule{'s' if total != 1 else ''}"
    return f"{enabled} of {total} schedules enabled"


def _is_bare(experiment: Experiment | None) -> bool:
    """Whether there is no experiment to look at, which comes before everything else."""
    return experiment is None and not frame.current_frame().experiments


def _no_experiment() -> Invitation:
    url = links.to("experiment.create_view") if access.may_write() else ""
    return Invitation(access.no_experiment_words(), url, "Add experiment")


def _no_slots(experiment: Experiment | None, total: int, enabled: int) -> Invitation:
    if _is_bare(experiment):
        return _no_experiment()
    if total == 0:
        url = links.to("schedule.create_view") if _may_ask(experiment) else ""
        return Invitation("There is no schedule yet, so no twin is asked by itself.", url, "Add schedule")
    url = links.to("schedule.index_view")
    if enabled:
        return Invitation("No enabled schedule has a slot ahead.", url, "See schedules")
    words = "No schedule is enabled, so no twin is asked by itself."
    if experiment and experiment.is_demo:
        words += (
            " A demo's schedule stays off while a real endpoint is configured: a demo never spends money."
        )
    return Invitation(words, url, "See schedules")


def _no_attempts(experiment: Experiment | None, twins: reports.TwinCounts) -> Invitation:
    may_write = _may_ask(experiment)
    if _is_bare(experiment):
        return _no_experiment()
    if twins.total == 0:
        url = links.to("digitaltwin.create_view") if may_write else ""
        return Invitation("There is no twin yet, so there was nobody to ask.", url, "Add twin")
    url = links.to("digitaltwin.index_view") if may_write else ""
    return Invitation(
        "No twin has been asked yet. A schedule asks by itself; Post now asks at once.", url, "Post now …"
    )

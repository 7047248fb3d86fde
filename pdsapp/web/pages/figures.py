"""The numbers behind each drawing of the dashboard, as tables: folded below it, and as CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from flask import url_for
from markupsafe import Markup, escape

from ...domain.reasons import REASON_WORDS, Reason
from ...models import Experiment
from ...services.reports import Period
from ...services.reports_calls import EndpointCalls
from ...services.reports_period import Report
from ...services.reports_posts import Author, Authors, PostTimes
from ...services.reports_rule import BandCount, Tenth
from ...services.tables import guarded
from ..charts import Against, HBar, hbars
from ..rhythm import DAYS, Cell, hours_of

Value = str | int | float | None
NOT_HIDDEN = "posts and replies that are not hidden"
WHO = "who"


@dataclass(frozen=True)
class Figure:
    """The table of one drawing: `key` names it in addresses; the first column says what a row is of."""

    key: str
    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[Value, ...]]
    note: str = ""
    csv_url: str = ""

    @property
    def body(self) -> Markup:
        """The rows of the table, of which there can be hundreds; whole numbers with commas."""
        return Markup("".join(_row(*row) for row in self.rows))


def _row(first: Value, *others: Value) -> str:
    cells = (
        "" if each is None else f"{each:,}" if isinstance(each, int) else escape(each) for each in others
    )
    numbers = "".join(f'<td class="num">{each}</td>' for each in cells)
    return f'<tr><th scope="row">{escape(first)}</th>{numbers}</tr>'


@dataclass(frozen=True)
class Calibration:
    """Whether the draw keeps twins silent as often as it should; `rows` are drawn, `is_far` warns."""

    figure: Figure
    rows: list[tuple[Tenth, str, Against]]
    is_far: bool


@dataclass(frozen=True)
class Lengths:
    """How long posts were to be and were; `rows` are (band, limits, count, bars, how many kept to it)."""

    figure: Figure
    rows: list[tuple[BandCount, str, Against]]
    has_policy: bool


@dataclass(frozen=True)
class When:
    """Posts by hour and weekday; `words` sums them up."""

    figure: Figure
    hours: tuple[tuple[str, tuple[Cell, ...]], ...]
    total: int
    days: tuple[str, ...] = DAYS


@dataclass(frozen=True)
class Who:
    """Who posts: twins against people, and the most frequent authors."""

    figure: Figure
    kinds: tuple[HBar, ...]
    authors: tuple[HBar, ...]
    words: str


@dataclass(frozen=True)
class EndpointRow:
    """An endpoint and model in words; `failure` is the commonest one."""

    host: str
    model: str
    calls: int
    failed: int
    failure: str
    median: str
    p95: str


@dataclass(frozen=True)
class Endpoints:
    """How endpoints answer."""

    figure: Figure
    rows: list[EndpointRow] = field(default_factory=list)


def csv_text(figure: Figure) -> str:
    """The figure as a file: no cell is a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(figure.head)
    for row in figure.rows:
        writer.writerow(guarded(cell) if isinstance(cell, str) else cell for cell in row)
    return out.getvalue()


def addressed(figure: Figure, experiment: Experiment | None, period: Period) -> Figure:
    """The figure with the address of its file."""
    scope = {"experiment": experiment.identifier} if experiment else {}
    url = url_for("dashboard.figure", key=figure.key, period=period.key, **scope)
    return Figure(figure.key, figure.title, figure.head, figure.rows, figure.note, url)


def over_time_figure(report: Report, words: Iterable[str]) -> Figure:
    """Bars as rows; those in which nothing ended are left out."""
    rows = [
        (label, each.posted, each.skipped, each.failed)
        for label, each in zip(words, report.bins, strict=True)
        if each.posted or each.skipped or each.failed
    ]
    head = (report.period.bin_words.capitalize(), "posted", "skipped", "failed")
    return Figure("over-time", "Attempts over time", head, rows)


def calibration(tenths: Sequence[Tenth]) -> Calibration:
    """Of the unforced attempts the rule decided, by their skip probability."""
    asked = [tenth for tenth in tenths if tenth.asked]
    figure = Figure(
        "calibration",
        "Does the draw keep its word?",
        ("Skip probability", "attempts", "silent", "expected silent"),
        [(_tenth_words(each), each.asked, each.silent, round(each.expected, 1)) for each in asked],
        note="unforced attempts the rule decided",
    )
    rows = [(each, _tenth_words(each), _calibration_bar(each)) for each in asked]
    return Calibration(figure, rows, any(each.is_far for each in asked))


def _tenth_words(tenth: Tenth) -> str:
    """ "0.60–0.69"; "1.00" of what is never to post."""
    return "1.00" if tenth.low == 1 else f"{tenth.low:.2f}–{tenth.high - 0.01:.2f}"


def _calibration_bar(tenth: Tenth) -> Against:
    share, wanted = 100 * tenth.silent / tenth.asked, 100 * tenth.expected / tenth.asked
    words = f"{share:.0f} % silent, {wanted:.0f} % expected"
    series = "failed" if tenth.is_far else "skipped"
    return Against(round(share, 2), round(min(wanted, 100), 2), series, words)


def lengths(bands: Sequence[BandCount]) -> Lengths:
    """Posts by the band drawn for their length, against what the policy gives each band."""
    total = sum(band.posts for band in bands)
    figure = Figure(
        "lengths",
        "How long posts are",
        ("Band", "characters", "posts", "share", "policy's share", "within", "shorter", "longer"),
        [
            (
                band.name, _limits_words(band), band.posts, _percent(band.posts, total),
                "" if band.wanted_share is None else f"{100 * band.wanted_share:.0f} %",
                band.within, band.shorter, band.longer,
            )
            for band in bands
        ],
        note="posts of twins, by the band drawn for them",
    )  # fmt: skip
    rows = [(band, _limits_words(band), _length_bar(band, total)) for band in bands if total]
    return Lengths(figure, rows, any(band.wanted_share is not None for band in bands))


def _length_bar(band: BandCount, total: int) -> Against:
    words, wanted = f"{_percent(band.posts, total)} of posts", None
    if band.wanted_share is not None:
        wanted = round(100 * band.wanted_share, 2)
        words += f", {wanted:.0f} % by the policy"
    return Against(round(100 * band.posts / total, 2), wanted, "posted", words)


def _limits_words(band: BandCount) -> str:
    return f"{band.limits[0]}–{band.limits[1]}" if band.limits else ""


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else ""


def when(times: PostTimes) -> When:
    """Posts by hour and weekday of the zone's clock."""
    counts = [[times.by_hour[day, hour] for day in range(7)] for hour in range(24)]
    rows = [(f"{hour:02}:00", *row) for hour, row in enumerate(counts)]
    figure = Figure("when", "When they post", ("Hour", *DAYS), rows, note=NOT_HIDDEN)
    return When(figure, hours_of(counts), times.total)


def who(times: PostTimes, authors: Authors, urls: Sequence[str]) -> Who:
    """Who posts how much; `urls` lead to the profiles of `authors.shown`."""
    shown = sum(author.posts for author in authors.shown)
    others = authors.author_count - len(authors.shown)
    rows: list[tuple[Value, ...]] = [
        (f"@{author.username}", _kind(author), author.posts, _percent(author.posts, times.total))
        for author in authors.shown
    ]
    if others > 0:
        left = times.total - shown
        rows.append((f"{others:,} others", "", left, _percent(left, times.total)))
    figure = Figure(WHO, "Who posts", ("Author", "is", "posts", "share"), rows, note=NOT_HIDDEN)
    kinds = hbars(
        [("twins", times.of_twins, "posted"), ("people", times.of_people, "due")] if times.total else ()
    )
    bars = [
        (f"@{author.username}", author.posts, "posted" if author.is_twin else "due", url)
        for author, url in zip(authors.shown, urls, strict=True)
    ]
    replies = times.replies_of_twins + times.replies_of_people
    words = f"{replies:,} of {times.total:,} are replies." if replies else ""
    if others > 0:
        words = f"{others:,} others posted {times.total - shown:,}. {words}".strip()
    return Who(figure, kinds, hbars(bars), words)


def _kind(author: Author) -> str:
    return "twin" if author.is_twin else "person"


def endpoints(found: Sequence[EndpointCalls]) -> Endpoints:
    """Calls by endpoint and model; the file has the whole address and every failure."""
    head = ("Endpoint", "model", "calls", "failed", "failures", "mean ms", "median ms", "95 % within ms")
    figure = Figure(
        "endpoints",
        "How endpoints answer",
        head,
        [
            (
                each.endpoint, each.model, each.calls, each.failed,
                ", ".join(f"{_failure_words(name)}: {count}" for name, count in each.failures),
                each.mean_ms, each.median_ms, each.p95_ms,
            )
            for each in found
        ],
        note="calls of attempts; tests and trials are not counted",
    )  # fmt: skip
    rows = [
        EndpointRow(
            host=urlsplit(each.endpoint).netloc.rpartition("@")[2] or each.endpoint,
            model=each.model,
            calls=each.calls,
            failed=each.failed,
            failure=f"mostly “{_failure_words(each.failures[0][0])}”" if each.failures else "",
            median=_seconds(each.median_ms),
            p95=_seconds(each.p95_ms),
        )
        for each in found
    ]
    return Endpoints(figure, rows)


def _failure_words(outcome: str) -> str:
    if outcome == "lost":
        return "the worker was lost"
    return REASON_WORDS[Reason(outcome)] if outcome in list(Reason) else outcome


def _seconds(ms: int | None) -> str:
    if ms is None:
        return "–"
    return f"{ms} ms" if ms < 1_000 else f"{ms / 1_000:.1f} s"

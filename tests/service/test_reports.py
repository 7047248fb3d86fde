"""What the dashboard and the stream count: sums that agree, hours of the reader's zone, nothing missed."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from pdsapp.database import reading, transaction
from pdsapp.domain.reasons import AttemptState, Reason, ReasonClass
from pdsapp.errors import BadInput
from pdsapp.models import (
    Attempt,
)
from pdsapp.services import reports, reports_attempts
from pdsapp.services.ledger import ledger
from pdsapp.services.reports import PERIODS
from pdsapp.services.reports_attempts import Filters
from pdsapp.services.rollups import read_marks
from tests.attempt_rows import add_row, put_row
from tests.builders import make_experiment, make_twin

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = PERIODS["24h"]


def ago(**spans):
    return NOW - timedelta(**spans)


@pytest.fixture
def study(app):
    """An experiment."""
    return make_experiment()


@pytest.fixture
def twin(study):
    """A twin to hang attempts on."""
    return make_twin(study)


@pytest.fixture
def outcomes(twin):
    """One or more attempts of every outcome within the last day, and some the day before."""
    for hours in (1, 2, 3):
        add_row(twin, "posted", "drawn", ago(hours=hours), draw=0.9)
    add_row(twin, "posted", "forced", ago(hours=3), draw=0.1, age_hours=0.5, is_forced=True)
    for hours in (4, 5):
        add_row(twin, "skipped", "recency", ago(hours=hours), draw=0.1, age_hours=0.5)
    add_row(twin, "skipped", "twin_busy", ago(hours=6))
    add_row(twin, "skipped", "inactive", ago(hours=6))
    add_row(twin, "skipped", "inactive", ago(hours=7))
    add_row(twin, "failed", "deadline", ago(hours=8), draw=0.9)
    add_row(twin, "cancelled", "stopped", ago(hours=9))
    add_row(twin, "due", None, ago(minutes=1))
    add_row(twin, "posted", "drawn", ago(hours=30), draw=0.9)
    add_row(twin, "posted", "drawn", ago(hours=49), draw=0.9)
    return twin


def tallies(session, experiment=None, period=DAY):
    return reports.tallies(session, experiment, period, NOW, read_marks(session))


def current(session, experiment=None, period=DAY):
    return [tally for tally in tallies(session, experiment, period) if tally.is_current]


def bars(session, period, zone):
    marks = read_marks(session)
    found = reports.ended_by_block(session, None, period, NOW, zone, marks)
    return reports.bins(found, period, NOW, zone)


def test_outcomes_are_counted_apart_and_their_sum_is_the_ledgers(outcomes):
    with reading() as session:
        found = reports.counts(current(session))
        books = ledger(session, since=ago(hours=24))
    assert (found.posted, found.skipped_by_rule, found.held_by_limits, found.held_operational) == (4, 2, 1, 2)
    assert (found.failed, found.cancelled, found.waiting) == (1, 1, 1)
    assert found.asked == books.asked == 12
    assert books.states["skipped"] == found.skipped_by_rule + found.held_back


def test_the_skip_rate_counts_unforced_attempts_the_rule_decided(outcomes):
    with reading() as session:
        found = reports.counts(current(session))
    assert (found.ruled_silent, found.ruled) == (2, 6)


def test_the_period_before_is_as_long_and_does_not_overlap(outcomes):
    with reading() as session:
        before = [t for t in tallies(session) if not t.is_current]
    assert reports.counts(before).posted == 1


def test_other_experiments_are_not_counted(outcomes):
    other = make_experiment("Other")
    add_row(make_twin(other), "posted", "drawn", ago(hours=1))
    with reading() as session:
        assert reports.counts(current(session, other)).asked == 1
        assert reports.counts(current(session)).asked == 13


def test_reasons_are_counted_by_class_the_commonest_first(outcomes):
    with reading() as session:
        found = reports.reasons(current(session), reports.SILENT)
    assert found == {
        ReasonClass.rule: {Reason.recency: 2},
        ReasonClass.limit: {Reason.twin_busy: 1},
        ReasonClass.operational: {Reason.inactive: 2},
    }


@pytest.mark.parametrize(
    "zone", ["UTC", "America/Indiana/Indianapolis", "Asia/Kathmandu", "Australia/Lord_Howe"]
)
@pytest.mark.parametrize("period", PERIODS.values(), ids=PERIODS)
def test_the_bars_hold_every_attempt_once(outcomes, period, zone):
    with reading() as session:
        sums = reports.counts(current(session, period=period))
        bins = bars(session, period, ZoneInfo(zone))
    assert sum(each.posted for each in bins) == sums.posted
    assert sum(each.skipped for each in bins) == sums.skipped_by_rule + sums.held_back
    assert sum(each.failed for each in bins) == sums.failed
    assert bins[0].starts_at == period.stretch(NOW).starts_at and bins[-1].ends_at == NOW
    assert all(one.ends_at == other.starts_at for one, other in pairwise(bins))


def test_an_attempt_stands_in_the_bar_of_its_local_hour(twin):
    add_row(twin, "posted", "drawn", datetime(2026, 11, 21, 4, 50, tzinfo=UTC))
    zone = ZoneInfo("Asia/Kathmandu")
    with reading() as session:
        bins = bars(session, DAY, zone)
    (bar,) = [each for each in bins if each.posted]
    assert bar.starts_at.astimezone(zone).strftime("%H:%M") == "10:30"


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", datetime(2026, 11, 1, tzinfo=UTC), ["00", "01", "01", "02", "03"]),
        ("America/New_York", datetime(2026, 3, 8, tzinfo=UTC), ["00", "01", "03", "04", "05"]),
        ("Europe/Rome", datetime(2026, 6, 1, tzinfo=UTC), ["00", "01", "02", "03", "04"]),
    ],
    ids=["an hour repeated", "an hour left out", "a plain day"],
)
def test_bars_follow_the_clock_on_the_wall_through_its_changes(zone, day, hours):
    zone = ZoneInfo(zone)
    midnight = day.replace(tzinfo=zone)
    edges = reports.bin_edges(
        midnight.astimezone(UTC), midnight.astimezone(UTC) + timedelta(hours=5), 3600, zone
    )
    assert [edge.astimezone(zone).strftime("%H") for edge in edges] == hours


def test_twins_are_counted_with_those_that_can_be_asked(study, twin):
    make_twin(study, is_active=False)
    with reading() as session:
        assert reports.twin_counts(session, study) == reports.TwinCounts(1, 2)
        assert reports.twin_counts(session, None) == reports.TwinCounts(1, 2)


# the stream


def ids_of(page):
    return [line.id for line in page.lines]


@pytest.fixture
def many(twin):
    """120 attempts, every third of them failed; their ids."""
    with transaction() as session:
        return [
            put_row(
                session, twin, "failed" if i % 3 == 0 else "skipped", "deadline" if i % 3 == 0 else "recency",
                ago(minutes=200 - i),
            ).id
            for i in range(120)
        ]  # fmt: skip


def test_pages_show_every_attempt_once_newest_first_and_lead_back(many):
    with reading() as session:
        first = reports_attempts.page(session, Filters())
        second = reports_attempts.page(session, Filters(), before=first.older)
        third = reports_attempts.page(session, Filters(), before=second.older)
        back = reports_attempts.page(session, Filters(), after=third.newer)
        newest = reports_attempts.page(session, Filters(), after=back.newer)
    assert ids_of(first) + ids_of(second) + ids_of(third) == sorted(many, reverse=True)
    assert (first.newer, third.older) == (None, None)
    assert ids_of(back) == ids_of(second)
    assert ids_of(newest) == ids_of(first) and newest.newer is None


def test_a_filter_keeps_what_fits(many, study):
    with reading() as session:
        page = reports_attempts.page(session, Filters(state=AttemptState.failed, experiment=study))
    assert len(page.lines) == 40
    assert {line.reason for line in page.lines} == {Reason.deadline}


def test_nothing_new_is_said_in_one_word(many):
    with reading() as session:
        cursor = reports_attempts.change_cursor(session, Filters())
        assert reports_attempts.changes(session, Filters(), cursor) is None


def change(attempt_id, at, **values):
    with transaction() as session:
        attempt = session.get_one(Attempt, attempt_id)
        attempt.changed_at = at
        for name, value in values.items():
            setattr(attempt, name, value)


def test_a_change_is_given_once_with_a_new_cursor(many):
    with reading() as session:
        cursor = reports_attempts.change_cursor(session, Filters())
    change(many[3], NOW, state=AttemptState.posted)
    with reading() as session:
        changes = reports_attempts.changes(session, Filters(), cursor)
        assert many[3] in [line.id for line in changes.lines]
        assert reports_attempts.changes(session, Filters(), changes.cursor) is None


def test_a_change_that_is_committed_after_a_later_one_is_not_missed(many):
    change(many[5], NOW)
    with reading() as session:
        cursor = reports_attempts.change_cursor(session, Filters())
    change(many[6], NOW - timedelta(seconds=4))
    with reading() as session:
        changes = reports_attempts.changes(session, Filters(), cursor)
    assert many[6] in [line.id for line in changes.lines]


def test_an_attempt_that_no_longer_fits_the_filter_is_named_as_gone(twin):
    number = add_row(twin, "running", None, ago(minutes=1))
    filters = Filters(state=AttemptState.running)
    with reading() as session:
        cursor = reports_attempts.change_cursor(session, filters)
        uuid = session.get_one(Attempt, number).uuid
    change(number, NOW, state=AttemptState.skipped)
    with reading() as session:
        changes = reports_attempts.changes(session, filters, cursor)
    assert (changes.lines, changes.gone) == ((), (uuid,))


def test_the_first_attempt_of_all_is_noticed(twin):
    with reading() as session:
        cursor = reports_attempts.change_cursor(session, Filters())
        assert reports_attempts.changes(session, Filters(), cursor) is None
    number = add_row(twin, "due", None, NOW)
    with reading() as session:
        changes = reports_attempts.changes(session, Filters(), cursor)
        assert [line.id for line in changes.lines] == [number]


def test_a_flood_of_changes_gives_the_latest_and_comes_to_rest(twin):
    with reading() as session:
        cursor = reports_attempts.change_cursor(session, Filters())
    with transaction() as session:
        for i in range(250):
            put_row(session, twin, "skipped", "recency", NOW + timedelta(milliseconds=i))
    with reading() as session:
        changes = reports_attempts.changes(session, Filters(), cursor)
        assert len(changes.lines) == reports_attempts.MOST_CHANGES
        assert reports_attempts.changes(session, Filters(), changes.cursor) is None


@pytest.mark.parametrize("cursor", ["", "x", "1.2", "a.b.c", "9" * 40 + ".1.0", "1.x.0", "-1e9.1.0"])
def test_what_is_no_cursor_is_refused_with_what_to_do(app, cursor):
    with reading() as session, pytest.raises(BadInput, match="Reload the page"):
        reports_attempts.changes(session, Filters(), cursor)

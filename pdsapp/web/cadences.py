"""The cadence of a schedule in words that are true at this moment."""

from dataclasses import replace
from datetime import datetime

from ..domain.cron import CadenceError, describe
from ..domain.jitter import jitter_words
from ..models import Schedule
from ..scheduling.cadence import cadence_of, zone_of


def words_at(schedule: Schedule, now: datetime) -> str:
    """The cadence in words, without a first day that is over while slots go on; "" if it cannot be read."""
    try:
        found = cadence_of(schedule)
    except CadenceError:
        return ""
    today = now.astimezone(zone_of(schedule)).date()
    has_begun = found.first_day is not None and found.first_day < today
    if has_begun and (found.last_day is None or today <= found.last_day):
        found = replace(found, first_day=None)
    words = describe(found)
    return f"{words}, {jitter_words(schedule.jitter_seconds)}" if schedule.jitter_seconds else words

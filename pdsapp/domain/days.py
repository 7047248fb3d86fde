"""The first and the last day of a cadence: checked, and said in words. Both count, and either may be open."""

from datetime import date, datetime

from .cadence_words import MONTH_NAMES, CadenceError

EARLIEST_DAY, LATEST_DAY = date(1970, 1, 1), date(2999, 12, 31)


class DaysError(CadenceError):
    """A first or last day that cannot be used. `field` says which of the two."""

    def __init__(self, words: str, field: str):
        super().__init__(words)
        self.field = field


def check_days(first_day: date | None, last_day: date | None) -> None:
    """Raises DaysError for days that are no days, out of range, or in the wrong order."""
    for name, day in (("first_day", first_day), ("last_day", last_day)):
        if day is None:
            continue
        words = name.replace("_", " ")
        if not isinstance(day, date) or isinstance(day, datetime):
            raise DaysError(f"The {words} is a date, such as 2026-12-01.", name)
        if not EARLIEST_DAY <= day <= LATEST_DAY:
            raise DaysError(f"The {words} lies between the years 1970 and 2999.", name)
    if first_day and last_day and first_day > last_day:
        raise DaysError(
            f"The last day, {day_text(last_day)}, is before the first, {day_text(first_day)}: "
            "choose the same day or a later one.",
            "last_day",
        )


def days_words(first_day: date | None, last_day: date | None) -> str:
    """The days in words, such as "1–14 Dec 2026" or "until 14 Dec 2026"; "" where both are open."""
    if first_day is None:
        return f"until {day_text(last_day)}" if last_day else ""
    if last_day is None:
        return f"starting {day_text(first_day)}"
    if first_day == last_day:
        return f"only on {day_text(first_day)}"
    if (first_day.year, first_day.month) == (last_day.year, last_day.month):
        return f"{first_day.day}–{day_text(last_day)}"
    if first_day.year == last_day.year:
        return f"{_short(first_day)} – {day_text(last_day)}"
    return f"{day_text(first_day)} – {day_text(last_day)}"


def day_text(day: date) -> str:
    """A date as "14 Dec 2026"."""
    return f"{_short(day)} {day.year}"


def _short(day: date) -> str:
    return f"{day.day} {MONTH_NAMES[day.month - 1][:3]}"

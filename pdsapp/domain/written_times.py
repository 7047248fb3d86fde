"""Times that people write into files: ISO 8601, and in which zone one is that does not say."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)  # what blocks of time are counted from


class WrittenTimeError(ValueError):
    """A text that is no time one can use; its words say what to write instead."""


def read_time(text: str, zone: ZoneInfo) -> datetime:
    """The instant a text names, in UTC: in its own offset, or else in `zone`; a day alone is its midnight.

    Of a time of day that the clocks show twice it is the first. Raises WrittenTimeError, also for one that
    they skip, and for what lies before 1970.
    """
    try:
        written = datetime.fromisoformat(text.strip())
        local = written if written.tzinfo else written.replace(tzinfo=zone)
        at = local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise WrittenTimeError(
            "This is no time in ISO 8601. Examples: 2026-11-21T08:30, or 2026-11-21T08:30+01:00"
        ) from None
    if at < EARLIEST:
        raise WrittenTimeError("This lies before 1970. Correct the year, or leave the row out.")
    if written.tzinfo is None and at.astimezone(zone).replace(tzinfo=None) != written:
        raise WrittenTimeError(
            f"The clocks of {zone} skip this time. Write another one, or add an offset such as +01:00."
        )
    return at

"""Workers and schedulers in words."""

from dataclasses import dataclass
from datetime import datetime

from ...attempts.words import span_words
from ...services.reports_now import Process


@dataclass(frozen=True)
class ProcessLine:
    """A worker or scheduler in words."""

    name: str
    is_alive: bool
    words: str
    beat_at: datetime


def process_line(process: Process, at: datetime) -> ProcessLine:
    """A process as it is at this moment."""
    ago = span_words((at - process.beat_at).total_seconds())
    parts = []
    if process.is_leader and process.is_alive:
        parts.append("leads")
    if process.lanes:
        parts.append(
            f"lanes {', '.join(process.lanes)}" if len(process.lanes) > 1 else f"lane {process.lanes[0]}"
        )
    if process.busy_count:
        parts.append(f"{process.busy_count} at work")
    parts.append(f"stopped {ago} ago" if process.stopped_at else f"last beat {ago} ago")
    return ProcessLine(process.name, process.is_alive, ", ".join(parts), process.beat_at)

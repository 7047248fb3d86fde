"""Attempts as rows of a list: what `templates/macros/attempts.html` draws."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from ...domain.reasons import HELD_BY_WORDS, REASON_WORDS, AttemptStage, AttemptState, Reason, ReasonClass
from ...services.reports_attempts import AttemptLine
from ..drawbar import DrawBar, draw_bar
from . import links

STAGE_WORDS = {
    None: "being picked up",
    AttemptStage.deciding: "reading the feed and deciding",
    AttemptStage.asking: "asking the model",
    AttemptStage.rewriting: "asking for a text that fits",
    AttemptStage.saving: "saving the post",
}


@dataclass(frozen=True)
class AttemptRow:
    """One row. `words` say why nothing was posted or what is being done, `took` is the model's time.

    `brief_url` is where the attempt is told in short."""

    id: str
    url: str
    brief_url: str
    at: datetime
    zone: ZoneInfo
    twin: str
    twin_url: str
    state: str
    draw: DrawBar | None
    words: str
    text: str
    text_note: str
    is_stand_in: bool
    is_rehearsal: bool
    took: str
    experiment: str


def attempt_row(line: AttemptLine, zone: ZoneInfo) -> AttemptRow:
    """The row of an attempt, its time in the zone."""
    return AttemptRow(
        id=str(line.uuid),
        url=links.attempt(line.uuid),
        brief_url=links.brief(line.uuid),
        at=line.created_at,
        zone=zone,
        twin=line.twin,
        twin_url=links.details("digitaltwin", line.twin_id),
        state=line.state.value,
        draw=draw_of(line),
        words="" if line.post_text else _why(line, zone),
        text=line.post_text,
        text_note=f"{line.length} characters, {line.length_band}" if line.post_text and line.length else "",
        is_stand_in=line.is_stand_in and bool(line.post_text),
        is_rehearsal=line.is_rehearsal,
        took=milliseconds_words(line.latency_ms),
        experiment=line.experiment,
    )


def draw_of(attempt) -> DrawBar | None:
    """The draw bar of an attempt or a line of one; None where nothing was drawn.

    Hatched where the rule did not decide: forced, or held back by a limit or a pause.
    """
    return draw_bar(
        attempt.recency_probability,
        attempt.share_probability,
        attempt.draw,
        probability=attempt.skip_probability,
        is_forced=attempt.is_forced,
        held_back_by=held_back_by(attempt),
    )


def held_back_by(attempt) -> str:
    """What silenced a twin instead of the rule, "the daily limit"; "" if the rule decided or nothing did."""
    is_silenced = attempt.state in (AttemptState.skipped, AttemptState.cancelled)
    if not is_silenced or attempt.reason is None or attempt.reason_class == ReasonClass.rule:
        return ""
    return HELD_BY_WORDS[attempt.reason]


def is_held_at_decision(attempt) -> bool:
    """Whether a limit, and not the rule, decided that the twin stays silent."""
    return attempt.state == AttemptState.skipped and attempt.reason_class == ReasonClass.limit


def reason_words(reason: Reason | None) -> str:
    """Why an attempt ended as it did; "" while it has not."""
    return "" if reason is None else REASON_WORDS[reason]


def milliseconds_words(value: int | None) -> str:
    """ "850 ms", "1.4 s", "83 s"; "" for nothing."""
    if value is None:
        return ""
    if value < 1000:
        return f"{value} ms"
    return f"{value / 1000:.1f} s" if value < 10_000 else f"{value / 1000:.0f} s"


def _why(line: AttemptLine, zone: ZoneInfo) -> str:
    if line.state == AttemptState.due and line.not_before > line.changed_at:
        at = f"due at {line.not_before.astimezone(zone):%H:%M:%S %Z}"
        return f"{at}. {line.waits_for}" if line.waits_for else at
    if line.state == AttemptState.due:
        return "waiting for a worker"
    if line.state == AttemptState.running:
        return STAGE_WORDS[line.stage]
    if line.state == AttemptState.skipped and line.reason_class == ReasonClass.rule:
        return line.detail.partition("; drew ")[0]  # the bar says the rest
    return line.detail or reason_words(line.reason)

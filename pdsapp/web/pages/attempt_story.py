"""What happened to an attempt, step by step, and what came back from the model."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...attempts.words import span_words
from ...domain.reasons import REASON_WORDS, TERMINAL_STATES, AttemptStage, AttemptState, CallState
from ...models import Attempt, LostLease, ModelCall
from ...scheduling.cadence import words_of
from .rows import is_held_at_decision, milliseconds_words

ORDINALS = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth")
STEP_WORDS = {
    "control_characters": "control characters",
    "thoughts": "the model's thoughts",
    "special_tokens": "special tokens",
    "length_limit": "everything beyond the longest draft",
    "normalisation": "other spellings of the same characters",
    "white_space": "white space around it",
    "json": "a JSON wrapping",
    "tags": "tags around it",
    "remarks": "remarks around the post",
    "preamble": "a preamble",
    "label": "a label",
    "name": "its own name in front",
    "fence": "a code fence",
    "quoted_lines": "quote marks before lines",
    "emphasis": "emphasis marks around it",
    "quotes": "quotation marks around it",
}
FLAG_WORDS = {
    "cut_at_sentence": "cut at the end of a sentence, it was too long",
    "cut_at_word": "cut after a word, it was too long",
    "too_short": "shorter than asked for",
    "rewrite_failed": "the rewrite request failed, so the first draft was used",
}
LOST_WORDS = {
    None: "before it began",
    AttemptStage.deciding: "after the decision",
    AttemptStage.asking: "while the model was asked",
    AttemptStage.rewriting: "while a rewrite was asked for",
    AttemptStage.saving: "while the post was saved",
}
NO_ANSWER = (CallState.failed, CallState.lost)
END_WORDS = {
    AttemptState.posted: "Posted",
    AttemptState.skipped: "Stayed silent",
    AttemptState.failed: "Failed",
    AttemptState.cancelled: "Called off",
}


@dataclass(frozen=True)
class Step:
    """One event of the timeline."""

    at: datetime
    title: str
    note: str = ""
    is_bad: bool = False


@dataclass(frozen=True)
class ReplyView:
    """One call: what it was, how it went, and the text that came back, raw."""

    title: str
    note: str
    content: str
    is_bad: bool


def timeline(attempt: Attempt, asked_by: str) -> list[Step]:
    """The events in order; those of one instant in the order they follow each other."""
    return sorted(_steps(attempt, asked_by), key=lambda step: step.at)


def took_words(attempt: Attempt) -> str:
    """How long it took from being asked for to its end, "" while it has not ended."""
    if attempt.finished_at is None:
        return ""
    seconds = max(0.0, (attempt.finished_at - attempt.created_at).total_seconds())
    return f"{seconds:.1f} s in all" if seconds < 60 else f"{span_words(seconds)} in all"


def replies(attempt: Attempt) -> list[ReplyView]:
    """Every call with what came back, in order."""
    return [_reply(number, call) for number, call in enumerate(attempt.calls)]


def changes(attempt: Attempt) -> list[str]:
    """What was done to the reply before it was posted, in words."""
    removed = [STEP_WORDS.get(step, str(step).replace("_", " ")) for step in attempt.cleaning_steps or ()]
    fitted = [FLAG_WORDS.get(flag, str(flag).replace("_", " ")) for flag in attempt.fit_flags or ()]
    return ([f"Removed: {', '.join(removed)}."] if removed else []) + [
        f"{words[0].upper()}{words[1:]}." for words in fitted
    ]


def call_words(call: ModelCall) -> str:
    """How a call went: status, time, tokens, and what was waited before it."""
    parts = []
    if call.wait_ms:
        parts.append(f"waited {milliseconds_words(call.wait_ms)}")
    if call.http_status:
        parts.append(f"HTTP {call.http_status}")
    if call.latency_ms is not None:
        parts.append(milliseconds_words(call.latency_ms))
    if call.prompt_tokens is not None or call.completion_tokens is not None:
        parts.append(f"{_count(call.prompt_tokens)} tokens in, {_count(call.completion_tokens)} out")
    if call.state == CallState.started:
        parts.append("no answer yet")
    elif call.state == CallState.lost:
        parts.append("the worker was lost before the answer was stored")
    elif call.error is not None:
        parts.append(REASON_WORDS[call.error])
    return ", ".join(parts)


def _steps(attempt: Attempt, asked_by: str) -> Iterator[Step]:
    if attempt.slot is not None:
        yield Step(attempt.slot.slot_at, "Slot due", words_of(attempt.slot.revision))
        yield Step(attempt.created_at, "Drawn", _drawn_words(attempt))
        if attempt.delay_seconds is not None:
            due_at = attempt.slot.slot_at + timedelta(seconds=attempt.delay_seconds)
            if due_at > attempt.created_at:
                yield Step(due_at, "Delay over", delay_words(attempt))
    else:
        yield Step(attempt.created_at, "Asked for", f"by {asked_by}")
    for lost in attempt.lost_leases:
        yield from _loss_steps(lost)
    if attempt.claimed_at is not None and not _is_of_lost(attempt):
        lost = f"after {attempt.strikes} lost" if attempt.strikes else ""
        yield Step(
            attempt.claimed_at, "Claimed", ", ".join(part for part in (attempt.claimed_by, lost) if part)
        )
    if attempt.stop_asked_at is not None:
        yield Step(attempt.stop_asked_at, "Stop asked for", "it may not publish any more")
    if attempt.decided_at is not None:
        yield Step(attempt.decided_at, _decided_words(attempt))
    if attempt.feed_read_at is not None:
        yield Step(attempt.feed_read_at, "Read the feed", "its turn had come; what was decided stayed")
    for call in attempt.calls:
        title = f"Asked {call.model_asked}{' to rewrite it' if call.is_rewrite else ''}"
        yield Step(call.started_at, title, call_words(call), call.state in NO_ANSWER)
    if (answered := _last_answer(attempt)) is not None and (words := changes(attempt)):
        yield Step(answered, "Cleaned and fitted", " ".join(words))
    if attempt.state in TERMINAL_STATES and attempt.finished_at is not None:
        is_bad = attempt.state == AttemptState.failed
        yield Step(attempt.finished_at, END_WORDS[attempt.state], _end_words(attempt), is_bad)


def _decided_words(attempt: Attempt) -> str:
    if is_held_at_decision(attempt):
        return f"The rule said {'post' if attempt.would_post else 'stay silent'}"
    return "Decided to post" if attempt.is_forced or attempt.would_post else "Decided to stay silent"


def delay_words(attempt: Attempt) -> str:
    """The jitter drawn for it, out of how much; "" where it has none."""
    if attempt.delay_seconds is None:
        return ""
    most = attempt.slot.revision.jitter_seconds if attempt.slot else 0
    return f"{attempt.delay_seconds:.1f} s after the slot, drawn from 0–{most:,} s"


def _loss_steps(lost: LostLease) -> Iterator[Step]:
    worker = lost.worker or "a worker"
    if lost.claimed_at is not None:
        yield Step(lost.claimed_at, "Claimed", lost.worker)
    stage = LOST_WORDS.get(lost.stage, "")
    if lost.lease_until is not None and lost.taken_back_at < lost.lease_until:  # given back by its worker
        yield Step(lost.taken_back_at, "Could not be run", f"{worker}, {stage}; our own code failed", True)
    else:
        yield Step(lost.taken_back_at, "Worker lost", f"{worker}, {stage}; the attempt was taken back", True)
    if lost.returned_at is not None:
        yield Step(lost.returned_at, "Lost worker came back", f"{worker}; its result was refused", True)


def _is_of_lost(attempt: Attempt) -> bool:
    """Whether the last claim is one that was lost, and is told with its loss."""
    return any(lost.claimed_at == attempt.claimed_at for lost in attempt.lost_leases)


def _drawn_words(attempt: Attempt) -> str:
    if attempt.candidate_count is None:
        return ""
    return f"1 of {attempt.candidate_count:,} active twin{'s' if attempt.candidate_count != 1 else ''}"


def _last_answer(attempt: Attempt) -> datetime | None:
    answered = (call.finished_at for call in attempt.calls if call.state == CallState.answered)
    return max((at for at in answered if at), default=None)


def _end_words(attempt: Attempt) -> str:
    if attempt.state == AttemptState.posted:
        return "the twin's last post is now this one" if attempt.post else ""
    return REASON_WORDS[attempt.reason] if attempt.reason else ""


def _reply(number: int, call: ModelCall) -> ReplyView:
    name = ORDINALS[number] if number < len(ORDINALS) else f"{number + 1}th"
    title = f"{name} call{', a rewrite' if call.is_rewrite else ''}"
    content = call.detail if call.reply is None else call.reply
    return ReplyView(title, call_words(call), content or "", call.state in NO_ANSWER)


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else f"{tokens:,}"

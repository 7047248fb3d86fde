"""The closed sets: attempt states, slot kinds, triggers, and why an attempt ended as it did.

Names equal values throughout, so that forms, exports and the database spell them alike.
"""

from enum import StrEnum


class AttemptState(StrEnum):
    """Where an attempt stands. The last four never change again."""

    due = "due"
    running = "running"
    posted = "posted"
    skipped = "skipped"
    failed = "failed"
    cancelled = "cancelled"


TERMINAL_STATES = frozenset(
    {AttemptState.posted, AttemptState.skipped, AttemptState.failed, AttemptState.cancelled}
)


class AttemptStage(StrEnum):
    """What a running attempt is doing at this moment."""

    deciding = "deciding"
    asking = "asking"
    rewriting = "rewriting"
    saving = "saving"


class SlotKind(StrEnum):
    """What became of one due instant of one schedule."""

    fired = "fired"
    missed = "missed"
    paused = "paused"
    overlap = "overlap"
    clock_change = "clock_change"
    nobody_eligible = "nobody_eligible"


class SlotStage(StrEnum):
    """What the scheduler has still to do for a fired slot: make attempts, cancel those that a stop left
    waiting, or sum up how they ended once they have."""

    expanding = "expanding"
    stopping = "stopping"
    working = "working"


class Trigger(StrEnum):
    """The door an attempt came in by. All doors lead to one code path."""

    schedule = "schedule"
    button = "button"
    cli = "cli"
    api = "api"


class ExperimentState(StrEnum):
    """The life of an experiment. In draft twins rehearse; ended, it is only read."""

    draft = "draft"
    running = "running"
    paused = "paused"
    ended = "ended"
    archived = "archived"


# Twins are asked in the first; the second are those of a study; no state leads back from the third.
ASKING_STATES = frozenset({ExperimentState.draft, ExperimentState.running})
UNDER_WAY = frozenset({ExperimentState.running, ExperimentState.paused})
OVER_STATES = frozenset({ExperimentState.ended, ExperimentState.archived})


class TokenState(StrEnum):
    """Whether an API token is used. `paused` carries its reason beside it."""

    active = "active"
    paused = "paused"
    archived = "archived"


class Visibility(StrEnum):
    """Whether a post is seen. Only visible top-level posts count for share and context."""

    visible = "visible"
    hidden = "hidden"
    erased = "erased"


class CallPurpose(StrEnum):
    """What a model call was for. Only `attempt` belongs to an attempt."""

    attempt = "attempt"
    token_test = "token_test"
    trial = "trial"
    preview = "preview"


class CallState(StrEnum):
    """How far a model call got. `lost`: started, and the process died before the answer was stored."""

    started = "started"
    answered = "answered"
    failed = "failed"
    lost = "lost"


class ReasonClass(StrEnum):
    """Who decided: the posting rule, a limit somebody set, or circumstances."""

    rule = "rule"
    limit = "limit"
    operational = "operational"


class Reason(StrEnum):
    """Why an attempt ended in its terminal state."""

    # rule
    drawn = "drawn"  # posted: the draw fell at or above the skip probability
    recency = "recency"
    share = "share"
    recency_and_share = "recency_and_share"
    forced = "forced"  # posted: the draw was bypassed
    # limit
    daily_limit = "daily_limit"
    min_gap = "min_gap"
    quiet_hours = "quiet_hours"
    twin_busy = "twin_busy"
    too_late = "too_late"
    # operational: circumstances
    paused = "paused"
    stopped = "stopped"
    rehearsal_over = "rehearsal_over"
    experiment_over = "experiment_over"
    inactive = "inactive"
    banned = "banned"
    no_endpoint = "no_endpoint"
    token_paused = "token_paused"
    token_broken = "token_broken"
    worker_lost = "worker_lost"
    service_error = "service_error"
    disk_low = "disk_low"
    # operational: what the endpoint did
    endpoint_refused = "endpoint_refused"
    endpoint_down = "endpoint_down"
    deadline = "deadline"
    rate_limited = "rate_limited"
    wrong_key = "wrong_key"
    quota = "quota"
    bad_request = "bad_request"
    model_not_found = "model_not_found"
    bad_reply = "bad_reply"
    empty_reply = "empty_reply"
    refused = "refused"
    reply_too_large = "reply_too_large"


_RULE = {Reason.drawn, Reason.recency, Reason.share, Reason.recency_and_share, Reason.forced}
_LIMIT = {Reason.daily_limit, Reason.min_gap, Reason.quiet_hours, Reason.twin_busy, Reason.too_late}

REASON_CLASS: dict[Reason, ReasonClass] = {
    reason: (
        ReasonClass.rule
        if reason in _RULE
        else ReasonClass.limit
        if reason in _LIMIT
        else ReasonClass.operational
    )
    for reason in Reason
}

REASON_WORDS: dict[Reason, str] = {
    Reason.drawn: "the draw said post",
    Reason.recency: "posted recently",
    Reason.share: "large share of recent posts",
    Reason.recency_and_share: "posted recently and often",
    Reason.forced: "asked to post whatever the draw",
    Reason.daily_limit: "daily limit reached",
    Reason.min_gap: "too soon after its last post",
    Reason.quiet_hours: "quiet hours",
    Reason.twin_busy: "already at work on another post",
    Reason.too_late: "the draft came too late",
    Reason.paused: "experiment is not running",
    Reason.stopped: "stopped by hand",
    Reason.rehearsal_over: "the rehearsal was over",
    Reason.experiment_over: "the experiment was over",
    Reason.inactive: "twin is not active",
    Reason.banned: "profile is banned",
    Reason.no_endpoint: "no endpoint to ask",
    Reason.token_paused: "API token is paused",
    Reason.token_broken: "API token cannot be read",
    Reason.worker_lost: "workers were lost",
    Reason.service_error: "the posting code raised an error",
    Reason.disk_low: "too little disk space",
    Reason.endpoint_refused: "address not allowed",
    Reason.endpoint_down: "endpoint does not answer",
    Reason.deadline: "no answer within the time limit",
    Reason.rate_limited: "endpoint asks to slow down",
    Reason.wrong_key: "key not accepted",
    Reason.quota: "quota used up",
    Reason.bad_request: "endpoint refused the request",
    Reason.model_not_found: "endpoint does not know the model",
    Reason.bad_reply: "reply was not usable",
    Reason.empty_reply: "reply was empty",
    Reason.refused: "model declined to write",
    Reason.reply_too_large: "reply was too large",
}

# What held a twin back instead of the rule: "held back by …".
HELD_BY_WORDS: dict[Reason, str] = REASON_WORDS | {
    Reason.daily_limit: "the daily limit",
    Reason.min_gap: "the least gap between its posts",
    Reason.quiet_hours: "quiet hours",
    Reason.twin_busy: "an earlier attempt of the twin",
    Reason.too_late: "the age of its draft",
    Reason.paused: "a pause",
    Reason.stopped: "a stop",
    Reason.rehearsal_over: "the end of the rehearsal",
    Reason.experiment_over: "the end of the experiment",
    Reason.inactive: "the twin being inactive",
    Reason.banned: "a ban",
}

"""How an attempt ended, or where it stands, in sentences: title, reason, remedy, waiting."""

from datetime import datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup

from ...attempts.claim import MAX_STRIKES
from ...domain.reasons import REASON_WORDS, AttemptState, Reason, ReasonClass
from ...models import Attempt
from . import links
from .rows import STAGE_WORDS

DID = {
    AttemptState.due: "is about to be asked",
    AttemptState.running: "is being asked",
    AttemptState.posted: "posted",
    AttemptState.skipped: "stayed silent",
    AttemptState.failed: "failed to post",
    AttemptState.cancelled: "was called off",
}
SILENT_BECAUSE = {
    Reason.recency: "The draw kept it silent: it posted recently.",
    Reason.share: "The draw kept it silent: a large share of the recent posts is its own.",
    Reason.recency_and_share: "The draw kept it silent: it posted recently, and often.",
}
READ_REPLY = "What came back is below. Another model may do better."
LOGGED = "The worker's log holds the cause, under this attempt's id."
SEE_LIMITS = ("See the experiment’s limits", "limits")
REMEDIES: dict[Reason, tuple[str, str]] = {
    Reason.twin_busy: ("Nothing to do: it was at work on an earlier attempt.", ""),
    Reason.quiet_hours: SEE_LIMITS,
    Reason.daily_limit: SEE_LIMITS,
    Reason.min_gap: SEE_LIMITS,
    Reason.too_late: SEE_LIMITS,
    Reason.paused: ("See the experiment", "experiment"),
    Reason.inactive: ("See the twin", "twin"),
    Reason.banned: ("See its profile", "profile"),
    Reason.no_endpoint: ("Give the twin an API token, or a URL and a model", "twin"),
    Reason.token_paused: ("See the token", "token"),
    Reason.token_broken: ("Enter the token's secret again", "token"),
    Reason.wrong_key: ("Enter a key that the endpoint accepts", "token"),
    Reason.quota: ("See the token; it is paused until you resume it", "token"),
    Reason.rate_limited: ("Ask less often, or with fewer twins per slot", "schedule"),
    Reason.endpoint_refused: ("Allow the host with PDS_LLM_ALLOWED_HOSTS, or use public https.", ""),
    Reason.endpoint_down: ("Check that the endpoint runs and that its address is right", "writer"),
    Reason.deadline: ("Check that the endpoint runs; a smaller model answers sooner", "writer"),
    Reason.bad_request: ("Check the model and the parameters", "writer"),
    Reason.model_not_found: ("Choose a model the endpoint knows", "writer"),
    Reason.bad_reply: (READ_REPLY, ""),
    Reason.empty_reply: (READ_REPLY, ""),
    Reason.refused: (READ_REPLY, ""),
    Reason.reply_too_large: ("Limit max_tokens in the parameters", "writer"),
    Reason.worker_lost: (LOGGED, ""),
    Reason.service_error: (LOGGED, ""),
}


def title(attempt: Attempt) -> str:
    """ "@dr_okafor posted": who did what."""
    did = "is about to post" if _is_to_post(attempt) else DID[attempt.state]
    return f"@{attempt.digital_twin.user_profile.username} {did}"


def words(attempt: Attempt) -> str:
    """Why there is no post, or how far it has come."""
    if _is_to_post(attempt):
        return "It is decided that it posts; the post is still to be written."
    if attempt.state == AttemptState.due:
        return "Nothing has been decided yet."
    if attempt.state == AttemptState.running:
        return f"{capital(STAGE_WORDS[attempt.stage])} …"
    if attempt.post is not None or attempt.reason is None:
        return ""
    if attempt.state == AttemptState.posted:
        return "It posted, but the post is no longer there."
    if attempt.reason in SILENT_BECAUSE:
        return SILENT_BECAUSE[attempt.reason]
    return attempt.detail or f"{capital(REASON_WORDS[attempt.reason])}."


def remedy(attempt: Attempt) -> tuple[str, str]:
    """What to do about it, and the address where; empty for what needs nothing."""
    is_over_without_post = attempt.state in (AttemptState.skipped, AttemptState.failed)
    is_called_off = attempt.state == AttemptState.cancelled and attempt.reason_class == ReasonClass.limit
    if not (is_over_without_post or is_called_off) or attempt.reason_class == ReasonClass.rule:
        return "", ""
    text, place = REMEDIES.get(attempt.reason, ("", ""))
    twin = attempt.digital_twin
    used = (call.api_token_id for call in reversed(attempt.calls) if call.api_token_id)
    token_id = next(used, twin.api_token_id)
    if attempt.reason == Reason.no_endpoint and twin.api_token_id:
        text, place = "Give the token a default model, or the twin a model", "token"
    if place == "writer" or (place == "token" and token_id is None):
        place = "token" if token_id else "twin"
    url = {
        "experiment": links.details("experiment", attempt.experiment_id),
        "limits": f"{links.details('experiment', attempt.experiment_id)}#limits",
        "twin": links.details("digitaltwin", twin.id),
        "profile": links.details("userprofile", twin.user_profile_id),
        "token": links.details("apitoken", token_id),
        "schedule": links.details("schedule", attempt.schedule_id),
    }.get(place, "")
    return text, url


def waiting_words(attempt: Attempt, zone: ZoneInfo, is_served: bool, waits_for_erasing: bool = False) -> str:
    """What is being done about one that has not ended, and by whom, or that nobody is there to do it."""
    lost = ""
    if attempt.strikes:
        lost = f" It could not be brought to its end before (strike {attempt.strikes} of {MAX_STRIKES})."
    if not is_served:
        return Markup(
            "No worker serves lane “{}”, so nobody will ask this twin. Start one with "
            "<code>flask worker --lanes {}</code>, or the whole stack with <code>make run</code>.{}"
        ).format(attempt.lane, attempt.lane, lost)
    if waits_for_erasing:
        return (
            "A participant is being erased from this experiment; it is asked when that is done. This page "
            "renews itself."
        )
    if attempt.state == AttemptState.due and attempt.not_before > attempt.changed_at:
        why = f" {attempt.waits_for}" if attempt.waits_for else ""
        at = _clock(attempt.not_before, zone)
        return f"Due at {at}; it is asked then.{why}{lost} This page renews itself."
    if attempt.state == AttemptState.due:
        return (
            f"Waiting for a worker since {_clock(attempt.not_before, zone)}.{lost} This page renews itself."
        )
    since = f" since {_clock(attempt.claimed_at, zone)}" if attempt.claimed_at else ""
    return f"{capital(STAGE_WORDS[attempt.stage])}, at work{since}.{lost} This page renews itself."


def _is_to_post(attempt: Attempt) -> bool:
    """Whether it waits although it is decided: for its token, its endpoint, or after a lost worker."""
    return attempt.state == AttemptState.due and attempt.decided_at is not None


def capital(text: str) -> str:
    """The text with its first letter in upper case and the rest as it is."""
    return text[:1].upper() + text[1:]


def _clock(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%H:%M:%S %Z}"

"""Where an attempt comes from: who asked, which persona, endpoint, model, versions and keys."""

from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session

from ...attempts.endpoints import SOURCE_WORDS
from ...domain.reasons import Trigger
from ...models import Account, ApiToken, Attempt, ModelCall
from ...services import schedule_targets
from ...services.fields import parameters_words
from . import links
from .attempt_story import delay_words

SHOWN_OF_HASH = 12
DOORS = {Trigger.button: "a button", Trigger.cli: "the command line", Trigger.api: "the API"}

Fact = tuple[str, str] | tuple[str, str, str]


def asked_by(session: Session, attempt: Attempt) -> str:
    """Whoever asked for it, in words."""
    if attempt.trigger == Trigger.schedule:
        return f"schedule “{attempt.schedule.name}”" if attempt.schedule else "a schedule"
    account = session.get(Account, attempt.account_id) if attempt.account_id else None
    return account.email if account else DOORS[attempt.trigger]


def text_note(attempt: Attempt) -> str:
    """How long its post is and was to be, "" without one."""
    if attempt.post is None:
        return ""
    length = attempt.length if attempt.length is not None else len(attempt.post.text)
    if attempt.target_length is None:
        return f"{length} characters"
    return f"{length} characters, asked for about {attempt.target_length} ({band_words(attempt)})"


def facts(session: Session, attempt: Attempt, by: str) -> list[Fact]:
    """The pairs of the card, names first, keys last."""
    twin = attempt.digital_twin
    found: list[Fact] = [
        ("Twin", f"@{twin.user_profile.username}", links.details("digitaltwin", twin.id)),
        ("Experiment", attempt.experiment.name, links.details("experiment", attempt.experiment_id)),
        ("Asked by", f"{by}, forced" if attempt.is_forced else by),
        *_tries(session, attempt),
    ]
    if (version := attempt.persona_version) is not None:
        found.append(("Persona", str(version), links.details("persona", version.persona_id)))
    if attempt.calls:
        found += _of_call(session, attempt.calls[-1])
    if attempt.length_band and (attempt.calls or attempt.post is not None):  # else nobody was asked for it
        found.append(("Length asked for", f"about {attempt.target_length} ({band_words(attempt)})"))
    if attempt.policy is not None:
        found.append(("Policy", Markup("{} {}").format(attempt.policy.label, _hash(attempt.policy.hash))))
    if attempt.prompt_version is not None:
        found.append(("Prompt", _hash(attempt.prompt_version.hash)))
    if attempt.candidate_count is not None:
        found.append(("Selection", selection_words(attempt)))
        if is_narrowed(attempt):
            found.append(("Drawn among", _whom_words(session, attempt)))
        found.append(("Selection key", _code(attempt.selection_key)))
    if delay := delay_words(attempt):
        found.append(("Delay", delay))
    if attempt.decision_key:
        found.append(("Decision key", _code(attempt.decision_key)))
    if attempt.service:
        found.append(("Service", _code(attempt.service)))
    found.append(("Lane", attempt.lane))
    if attempt.strikes:
        found.append(("Strikes", str(attempt.strikes)))
    found.append(("Attempt", _code(str(attempt.uuid))))
    return found


def _tries(session: Session, attempt: Attempt) -> list[Fact]:
    """The attempt this one is a new try of, and the latest new try of this one."""
    found: list[Fact] = []
    for name, condition in (
        ("A new try of", Attempt.id == attempt.retry_of_id),
        ("Tried again as", Attempt.retry_of_id == attempt.id),
    ):
        query = select(Attempt.uuid, Attempt.state).where(condition).order_by(Attempt.id.desc()).limit(1)
        if (other := session.execute(query).one_or_none()) is not None:
            found.append((name, f"{str(other.uuid)[:8]}…, {other.state}", links.attempt(other.uuid)))
    return found


def band_words(attempt: Attempt) -> str:
    """ "short, 80–139": the band and its bounds in characters; and that somebody chose it."""
    words = f"{attempt.length_band}, {attempt.length_minimum}–{attempt.length_maximum}"
    if attempt.asked_band == attempt.length_band:
        return f"{words}, chosen by who asked"
    return f"{words}, as the policy had no “{attempt.asked_band}”" if attempt.asked_band else words


def selection_words(attempt: Attempt) -> str:
    """How the twin was drawn among the candidates; ranks begin at 0."""
    count = attempt.candidate_count
    if count == 1:
        return "the only candidate" if is_narrowed(attempt) else "the only active twin"
    which = f", twin {attempt.ordinal + 1} of this draw" if attempt.ordinal else ""
    return f"rank {attempt.drawn_rank} of {count:,} candidates (0–{count - 1:,}){which}"


def is_narrowed(attempt: Attempt) -> bool:
    """Whether its schedule asked only some twins of the experiment then."""
    return attempt.slot is not None and bool(attempt.slot.revision.target)


def _whom_words(session: Session, attempt: Attempt) -> str:
    """Which twins the schedule's revision of then asked."""
    revision = attempt.slot.revision
    names = schedule_targets.names_of(session, [schedule_targets.readable(revision)])
    return schedule_targets.words_of(revision, names)


def _of_call(session: Session, call: ModelCall) -> list[Fact]:
    token = session.get(ApiToken, call.api_token_id) if call.api_token_id else None
    source = SOURCE_WORDS.get(call.endpoint_source, call.endpoint_source)
    whose = f"{source} “{token.name}”" if token else source
    return [
        ("Endpoint", f"{whose}\n{call.endpoint}", links.details("apitoken", call.api_token_id)),
        ("Model asked", _code(call.model_asked)),
        ("Model returned", _code(call.model_returned)),
        ("Fingerprint", _code(call.system_fingerprint)),
        ("Parameters", parameters_words(call.parameters)),
    ]


def _hash(text: str) -> Markup | str:
    return _code(text[:SHOWN_OF_HASH])


def _code(text: str) -> Markup | str:
    return Markup("<code>{}</code>").format(text) if text else ""

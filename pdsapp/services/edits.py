"""Edits: what people change about rows that are there, compared with the version they saw.

Each takes the session, the row and the `seen` version the form was made from, writes the audit trail and
leaves the commit to the caller. Each raises BadInput: on a field that cannot be used, and when somebody
else has saved in between.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..attempts.gate import close_gate
from ..domain.protocol import ProtocolPart
from ..domain.reasons import TokenState
from ..errors import BadInput
from ..llm.secrets import SecretBox
from ..models import (
    Account,
    ApiToken,
    DigitalTwin,
    Experiment,
    Persona,
    PersonaVersion,
    Post,
    ProtocolChange,
    TwinTag,
    UserProfile,
)
from . import (
    audit,
    pauses,
    persona_moves,
    personas,
    posts,
    protocol,
    put_off,
    token_use,
    tokens,
    twins,
)
from .editing import begin, changed_words, hold_experiment
from .ends import clean_end, last_day_of
from .fields import (
    MOST_TAGS,
    clean_line,
    clean_parameters,
    clean_tags,
    clean_text,
    clean_zone,
    username_key,
)
from .token_sharing import refuse_if_shared
from .withdrawals import require_there

# What of an experiment's form belongs to the protocol of its study.
OF_STUDY = ("zone", "last_day", "pauses_at_model_change")
# What of a twin belongs to the protocol of its study, by the names the audit trail has for it.
TWIN_PARTS = {
    ProtocolPart.persona: ("persona",),
    ProtocolPart.model: ("token", "llm_url", "llm_model", "parameters"),
}


def change_experiment(
    session: Session,
    experiment: Experiment,
    seen: int,
    now: datetime,
    *,
    name: str,
    description: str,
    zone: str,
    last_day: date | None = None,
    pauses_at_model_change: bool = False,
    reason: str = "",
    account: Account | None = None,
) -> None:
    """Another name, description, zone, last day in that zone, or pause at another model for an experiment.

    Of a study under way all but name and description need a `reason`; its quiet hours are in its zone.
    """
    begin(session, experiment, seen)
    before, last_day_before = _experiment_shown(experiment), last_day_of(experiment)
    experiment.name = clean_line(name, "name", 120)
    experiment.description = clean_text(description, "description", 4000, required=False)
    experiment.zone = clean_zone(zone)
    if last_day != last_day_before or experiment.zone != before["zone"]:
        experiment.ends_at = clean_end(last_day, experiment.zone, now)
    experiment.pauses_at_model_change = pauses_at_model_change
    changed = _difference(before, _experiment_shown(experiment))
    audit.record(session, "change", experiment, now, account, *changed)
    of_study = ({name: values[name] for name in OF_STUDY if name in values} for values in changed)
    protocol.record_values(
        session, [experiment], ProtocolPart.life, "Experiment", *of_study, now, reason=reason, account=account
    )


def change_persona(
    session: Session,
    persona: Persona,
    seen: int | None,
    now: datetime,
    *,
    name: str,
    text: str,
    notes: str,
    moves: Iterable[int] = (),
    reason: str = "",
    account: Account | None = None,
) -> tuple[PersonaVersion, int]:
    """The persona's latest version and how many twins were moved to it.

    Another text makes a new version; the twins of the experiments in `moves` (ids) go to it, all others
    stay on theirs. `reason` is needed where one of those runs or is paused (see persona_moves.move).
    """
    moves = sorted(set(moves))
    persona_moves.hold(session, moves)
    begin(session, persona, seen)
    name = clean_line(name, "name", 120)
    other = personas.find_persona(session, name)
    if other is not None and other.id != persona.id:
        raise BadInput(f"There is a persona named “{name}” already. Choose another name.", "name")
    before = {"name": persona.name, "notes": persona.notes, "version": persona.latest_number}
    persona.name = name
    persona.notes = clean_text(notes, "notes", 4000, required=False)
    version = personas.add_version(session, persona, text, now, account)
    moved = 0
    if moves and version.number != before["version"]:
        moved = persona_moves.move(session, persona, version, moves, now, reason, account)
    after = {"name": persona.name, "notes": persona.notes, "version": persona.latest_number}
    before, after = _difference(before, after)
    _audit_persona(session, persona, now, account, before, after, moved, reason)
    return version, moved


def move_twins(
    session: Session,
    persona: Persona,
    seen: int | None,
    moves: Iterable[int],
    now: datetime,
    reason: str = "",
    account: Account | None = None,
) -> int:
    """Moves twins of the experiments in `moves` (ids) from older versions to the latest; how many were."""
    moves = sorted(set(moves))
    if not moves:
        raise BadInput("Choose at least one experiment.", "moves")
    persona_moves.hold(session, moves)
    begin(session, persona, seen)
    version = personas.latest_version(session, persona)
    moved = persona_moves.move(session, persona, version, moves, now, reason, account)
    _audit_persona(session, persona, now, account, {}, {}, moved, reason)
    return moved


def change_token(
    session: Session,
    box: SecretBox,
    token: ApiToken,
    seen: int,
    now: datetime,
    *,
    name: str,
    base_url: str,
    secret: str,
    removes_secret: bool,
    default_model: str,
    parameters: str | dict,
    reason: str = "",
    account: Account | None = None,
    **limits: str | int | None,
) -> list[ProtocolChange]:
    """A token's new values, and the protocol changes that were: another address, model or parameters is one
    of each study under way whose twins use the token, and then needs a reason.

    An empty `secret` keeps the stored one, unless it is to be removed. `limits` change nothing of what is
    measured and are no change of a protocol; those that are not given stay.
    """
    begin(session, token, seen)
    refuse_if_shared(session, token)
    written_by = _written_by(token)
    before = tokens.shown(token) | {"parameters": dict(token.parameters), "fingerprint": token.fingerprint}
    if removes_secret and secret:
        raise BadInput("Either enter a new key or remove the stored one, not both.", "secret")
    token.name = tokens.clean_token_name(session, name, own_id=token.id)
    tokens.change_base_url(token, base_url, has_new_secret=bool(secret) or removes_secret)
    token.default_model = clean_line(default_model, "default_model", 200, required=False)
    token.parameters = clean_parameters(parameters)
    tokens.put_limits(token, limits)
    if removes_secret:
        tokens.remove_secret(token)
    elif secret:
        tokens.put_secret(token, box, secret)
    after = tokens.shown(token) | {"parameters": dict(token.parameters), "fingerprint": token.fingerprint}
    before, after = _difference(before, after)
    if {"limits", "base_url"} & after.keys():
        put_off.ask_again(session, token.id, now)
    if {"base_url", "secret", "fingerprint", "default_model"} & after.keys():
        token.last_test_at = token.last_test_ok = token.last_test_steps = None
        token.last_test_detail = ""
    if {"base_url", "secret", "fingerprint"} & after.keys():
        token.last_test_models = None
    changes = protocol.record_values(
        session, [use.experiment for use in token_use.under_way(session, token.id)], ProtocolPart.model,
        f"API token “{token.name}”", written_by, _written_by(token), now, reason=reason, account=account,
    )  # fmt: skip
    if changes and changes[0].reason:
        after["reason"] = changes[0].reason
    audit.record(session, "change", token, now, account, before, after)
    return changes


def archive_token(session: Session, token: ApiToken, now: datetime, account: Account | None = None) -> bool:
    """Takes a token off the lists; twins that use it cannot be written. False if it was so already."""
    if token.state == TokenState.archived:
        return False
    refuse_if_shared(session, token)
    before = {"state": token.state.value}
    token.state = TokenState.archived
    token.edit_version += 1
    audit.record(session, "change", token, now, account, before, {"state": token.state.value})
    return True


def change_profile(
    session: Session,
    profile: UserProfile,
    seen: int,
    now: datetime,
    *,
    username: str,
    display_name: str,
    bio: str,
    account: Account | None = None,
) -> None:
    """Another username, display name or bio for a member of an experiment."""
    hold_experiment(session, profile.experiment_id)
    begin(session, profile, seen)
    require_there(session, profile)
    before = _profile_shown(profile)
    _put_profile(session, profile, username, display_name, bio)
    audit.record(session, "change", profile, now, account, *_difference(before, _profile_shown(profile)))


def change_twin(
    session: Session,
    twin: DigitalTwin,
    seen: int,
    now: datetime,
    *,
    username: str,
    display_name: str,
    bio: str,
    persona_version: PersonaVersion,
    token: ApiToken | None,
    llm_url: str,
    llm_model: str,
    parameters: str | dict,
    tags: str | Iterable[str],
    is_active: bool,
    reason: str = "",
    account: Account | None = None,
) -> None:
    """Everything a person may change about a twin and its profile, in one go.

    Another persona or endpoint is a change of the experiment's protocol and needs a `reason` once it has
    begun.
    """
    if not is_active:
        close_gate(session)  # what waits for it may have to be cancelled
    hold_experiment(session, twin.experiment_id)
    begin(session, twin, seen)
    before = twins.shown(twin) | {"tags": tag_words(twin)}
    _put_profile(session, twin.user_profile, username, display_name, bio)
    twin.user_profile.edit_version += 1
    twin.persona_version = persona_version
    twin.api_token = token
    twin.llm_url = twins.clean_twin_url(llm_url, token)
    twin.llm_model = clean_line(llm_model, "llm_model", 200, required=False)
    twin.parameters = clean_parameters(parameters)
    set_tags(session, twin, tags)
    session.flush()
    twins.set_active(session, twin, is_active)
    if before["is_active"] and not is_active:
        pauses.cancel_waiting_of(session, twin, now, account)
    before, after = _difference(before, twins.shown(twin) | {"tags": tag_words(twin)})
    for part, names in TWIN_PARTS.items():
        old, new = ({name: value[name] for name in names if name in value} for value in (before, after))
        protocol.record_values(
            session, [twin.experiment], part, f"Twin {twin}", old, new, now, reason=reason, account=account
        )
    audit.record(session, "change", twin, now, account, before, after)


def set_tags(session: Session, twin: DigitalTwin, tags: str | Iterable[str]) -> None:
    """Gives a twin exactly these tags: words, or a text with commas between them."""
    wanted = clean_tags(tags, most=MOST_TAGS)
    kept = [tag for tag in twin.tags if tag.tag in wanted]
    known = {tag.tag for tag in kept}
    twin.tags[:] = [*kept, *(TwinTag(tag=tag) for tag in wanted if tag not in known)]


def tag_words(twin: DigitalTwin) -> str:
    """A twin's tags as they are typed: `pilot, section 2`."""
    return ", ".join(sorted(tag.tag for tag in twin.tags))


def change_post(
    session: Session, post: Post, seen: int, text: str, now: datetime, account: Account | None = None
) -> None:
    """Another text for a person's post; `seen` is the revision the form was made from."""
    present = session.scalar(select(Post.revision).where(Post.id == post.id).with_for_update())
    if seen != present:
        raise BadInput(changed_words(session, post))
    posts.change_text(session, post, text, now, account)


def set_persona_archived(
    session: Session, persona: Persona, is_archived: bool, now: datetime, account: Account | None = None
) -> bool:
    """Takes a persona off the lists, or puts it back; its twins and versions stay as they are."""
    if persona.is_archived == is_archived:
        return False
    persona.is_archived = is_archived
    persona.edit_version += 1
    audit.record(
        session,
        "change",
        persona,
        now,
        account,
        {"is_archived": not is_archived},
        {"is_archived": is_archived},
    )
    return True


def _put_profile(session: Session, profile: UserProfile, username: str, display_name: str, bio: str) -> None:
    profile.username = twins.free_username(
        session, profile.experiment_id, username, own_profile_id=profile.id
    )
    profile.username_key = username_key(profile.username)
    profile.display_name = clean_line(display_name or profile.username, "display_name", 80)
    profile.bio = clean_text(bio, "bio", 1000, required=False)


def _written_by(token: ApiToken) -> dict[str, Any]:
    return {
        "base_url": token.base_url,
        "default_model": token.default_model,
        "parameters": dict(token.parameters),
    }


def _experiment_shown(experiment: Experiment) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "description": experiment.description,
        "zone": experiment.zone,
        "last_day": day.isoformat() if (day := last_day_of(experiment)) else None,
        "pauses_at_model_change": experiment.pauses_at_model_change,
    }


def _profile_shown(profile: UserProfile) -> dict[str, str]:
    return {"username": profile.username, "display_name": profile.display_name, "bio": profile.bio}


def _audit_persona(
    session: Session,
    persona: Persona,
    now: datetime,
    account: Account | None,
    before: dict[str, Any],
    after: dict[str, Any],
    moved: int,
    reason: str,
) -> None:
    if moved:
        after = after | {"twins moved": moved, "reason": reason.strip()}
    audit.record(session, "change", persona, now, account, before, after)


def _difference(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    changed = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in changed}, {name: after[name] for name in changed}

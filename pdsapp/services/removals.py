"""Removing rows for good: only while nothing points at them. Everything with a history is archived instead.

Each takes its session, writes the audit trail, leaves the commit to the caller and raises BadInput with what
still points at the row and what to do instead.
"""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .. import grants
from ..attempts.ranks import set_active
from ..attempts.words import several
from ..errors import BadInput
from ..models import (
    Account,
    ApiToken,
    Attempt,
    BulkImport,
    DigitalTwin,
    ImportState,
    ModelCall,
    Persona,
    PersonaVersion,
    Post,
    UserProfile,
)
from . import audit, tokens, twins
from .editing import hold_experiment, require_open
from .schedule_targets import holder_of

# Set-ups that go with their token: before somebody has said yes to one, nothing is lost by it.
CONFIRMED = (ImportState.waiting, ImportState.running, ImportState.failed)


def remove_persona(session: Session, persona: Persona, now: datetime, account: Account | None = None) -> None:
    """Deletes a persona with its versions, if no twin and no attempt ever used one."""
    versions = select(PersonaVersion.id).where(PersonaVersion.persona_id == persona.id)
    users = _count(session, DigitalTwin.id, DigitalTwin.persona_version_id.in_(versions))
    if users:
        raise BadInput(
            f"{several(users, 'twin')} {_use(users)} this persona. Archive it, or give them another one "
            f"first."
        )
    if _count(session, Attempt.id, Attempt.persona_version_id.in_(versions)):
        raise BadInput("Attempts were made with this persona, and they keep it. Archive it instead.")
    audit.record(session, "delete", persona, now, account, before={"name": persona.name})
    for version in list(persona.versions):
        session.delete(version)
    session.flush()
    session.delete(persona)


def remove_token(session: Session, token: ApiToken, now: datetime, account: Account | None = None) -> None:
    """Deletes a token, if no twin uses it or is about to, and no call was ever made with it."""
    users = _count(session, DigitalTwin.id, DigitalTwin.api_token_id == token.id)
    if users:
        raise BadInput(
            f"{several(users, 'twin')} {_use(users)} this token. Archive it, or give them another one first."
        )
    if _count(session, BulkImport.id, BulkImport.token_id == token.id, BulkImport.state.in_(CONFIRMED)):
        raise BadInput("Twins are being set up with this token. Wait until that is done, or archive it.")
    if _count(session, ModelCall.id, ModelCall.api_token_id == token.id):
        raise BadInput("Calls were made with this token, and they keep it. Archive it instead.")
    audit.record(session, "delete", token, now, account, before=tokens.shown(token))
    session.delete(token)


def remove_twin(session: Session, twin: DigitalTwin, now: datetime, account: Account | None = None) -> None:
    """Deletes a twin with its profile, if it was never asked, never posted and never chosen by a schedule."""
    require_open(twin.experiment)
    if _count(session, Attempt.id, Attempt.digital_twin_id == twin.id):
        raise BadInput("This twin has attempts, and they keep it. Deactivate it instead.")
    if (schedule := holder_of(session, twin)) is not None:
        raise BadInput(
            f"This twin is or was a chosen one of schedule “{schedule.name}”, whose revisions keep "
            "it. Deactivate it instead."
        )
    hold_experiment(session, twin.experiment_id)
    profile = twin.user_profile
    _refuse_author(session, profile, "Deactivate it instead.")
    audit.record(session, "delete", twin, now, account, before=twins.shown(twin))
    set_active(session, twin, False)
    session.delete(twin)
    session.flush()
    session.delete(profile)


def remove_profile(
    session: Session, profile: UserProfile, now: datetime, account: Account | None = None
) -> None:
    """Deletes a person's profile, if it never posted."""
    require_open(profile.experiment)
    if profile.is_bot:
        raise BadInput("This profile belongs to a twin. Delete the twin instead.")
    _refuse_author(session, profile, "Ban it instead.")
    audit.record(session, "delete", profile, now, account, before={"username": profile.username})
    session.delete(profile)


def _refuse_author(session: Session, profile: UserProfile, instead: str) -> None:
    posts = _count(session, Post.id, Post.user_profile_id == profile.id)
    if posts:
        raise BadInput(
            f"@{profile.username} has {several(posts, 'post')}, and they keep their author. {instead}"
        )


def _count(session: Session, column, *conditions) -> int:
    """How many there are, in all experiments: what keeps a row may be one that its remover does not see."""
    with grants.everything():
        return session.scalar(select(func.count(column)).where(*conditions))


def _use(count: int) -> str:
    return "uses" if count == 1 else "use"

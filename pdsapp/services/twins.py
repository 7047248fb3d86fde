"""User profiles and twins: adding, activating, banning."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..attempts.endpoints import is_same_origin
from ..attempts.gate import close_gate
from ..attempts.ranks import refresh_rank, set_active
from ..errors import BadInput
from ..llm.endpoint import normalize_base_url
from ..models import Account, ApiToken, DigitalTwin, Experiment, PersonaVersion, UserProfile
from . import audit, pauses
from .editing import hold_open, require_open
from .fields import clean_line, clean_parameters, clean_text, clean_username, username_key
from .withdrawals import require_there


def add_profile(
    session: Session,
    experiment: Experiment,
    username: str,
    now: datetime,
    display_name: str = "",
    bio: str = "",
    is_bot: bool = False,
) -> UserProfile:
    """A new member of an experiment. The caller commits. Raises BadInput, also on a taken username."""
    hold_open(session, experiment.id)
    username = free_username(session, experiment.id, username)
    profile = UserProfile(
        experiment_id=experiment.id,
        username=username,
        username_key=username_key(username),
        display_name=clean_line(display_name or username, "display_name", 80),
        bio=clean_text(bio, "bio", 1000, required=False),
        is_bot=is_bot,
        created_at=now,
    )
    session.add(profile)
    session.flush()
    return profile


def add_twin(
    session: Session,
    experiment: Experiment,
    username: str,
    persona_version: PersonaVersion,
    now: datetime,
    display_name: str = "",
    bio: str = "",
    token: ApiToken | None = None,
    llm_url: str = "",
    llm_model: str = "",
    parameters: str | dict | None = None,
    is_active: bool = True,
    account: Account | None = None,
) -> DigitalTwin:
    """A twin with its profile. The caller commits. Raises BadInput."""
    profile = add_profile(session, experiment, username, now, display_name, bio, is_bot=True)
    twin = DigitalTwin(
        experiment_id=experiment.id,
        user_profile=profile,
        persona_version=persona_version,
        api_token=token,
        llm_model=clean_line(llm_model, "llm_model", 200, required=False),
        parameters=clean_parameters(parameters),
        created_at=now,
        is_active=False,
    )
    twin.llm_url = clean_twin_url(llm_url, token)
    session.add(twin)
    session.flush()
    if is_active:
        set_active(session, twin, True)
    audit.record(session, "create", twin, now, account, after=shown(twin))
    return twin


def free_username(
    session: Session, experiment_id: int, username: str, own_profile_id: int | None = None
) -> str:
    """A username nobody else in the experiment has. Raises BadInput."""
    username = clean_username(username)
    taken = session.scalars(
        select(UserProfile.id).where(
            UserProfile.experiment_id == experiment_id,
            UserProfile.username_key == username_key(username),
            UserProfile.id != (own_profile_id or 0),
        )
    ).first()
    if taken is not None:
        raise BadInput(f"@{username} exists in this experiment already. Choose another username.", "username")
    return username


def clean_twin_url(url: str | None, token: ApiToken | None) -> str:
    """A twin's own endpoint, or "". Raises BadInput when it would carry a token's key elsewhere."""
    if not (url or "").strip():
        return ""
    url = normalize_base_url(url)
    if token is not None and not is_same_origin(url, token.base_url):
        raise BadInput(
            f"Token “{token.name}” belongs to {token.base_url}; its key is not sent to another address. "
            "Make a token for this address, or leave the URL empty.",
            "llm_url",
        )
    return url


def set_twin_active(
    session: Session, twin: DigitalTwin, is_active: bool, now: datetime, account: Account | None = None
) -> bool:
    """Activates or deactivates a twin; True if that changed anything. The caller commits.

    Deactivating is a twin's pause: what waits for it is cancelled, what it is writing is finished.
    """
    if twin.is_active == is_active:
        return False
    require_open(twin.experiment)
    if not is_active:
        close_gate(session)
    set_active(session, twin, is_active)
    after: dict[str, object] = {"is_active": is_active}
    if not is_active:
        after["cancelled"] = pauses.cancel_waiting_of(session, twin, now, account)
    audit.record(session, "change", twin, now, account, {"is_active": not is_active}, after)
    return True


def set_banned(
    session: Session, profile: UserProfile, is_banned: bool, now: datetime, account: Account | None = None
) -> None:
    """Bans or unbans a profile; a banned twin is never drawn. The caller commits."""
    if profile.is_banned == is_banned:
        return
    require_open(profile.experiment)
    require_there(session, profile)
    profile.is_banned = is_banned
    session.flush()
    if profile.twin is not None:
        refresh_rank(session, profile.twin)
    audit.record(
        session, "change", profile, now, account, {"is_banned": not is_banned}, {"is_banned": is_banned}
    )


def shown(twin: DigitalTwin) -> dict[str, object]:
    """What the audit trail keeps of a twin."""
    return {
        "username": twin.user_profile.username,
        "display_name": twin.user_profile.display_name,
        "persona": str(twin.persona_version),
        "token": twin.api_token.name if twin.api_token else None,
        "llm_url": twin.llm_url or "",
        "llm_model": twin.llm_model or "",
        "parameters": twin.parameters or {},
        "is_active": twin.is_active,
    }

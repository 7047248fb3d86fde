"""Twins by the thousand: reading, adding and changing them in a few statements instead of a few each.

Everything is checked before it gets here. The callers have locked the experiment, and commit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from ..models import (
    Account,
    ApiToken,
    AuditEvent,
    DigitalTwin,
    Experiment,
    Persona,
    PersonaVersion,
    TwinTag,
    UserProfile,
)
from . import audit
from .chunks import portions
from .fields import username_key

Values = dict[str, Any]


@dataclass(frozen=True)
class TwinNow:
    """A twin as it is: what people may change about it, and the versions that count its edits."""

    id: int
    profile_id: int
    experiment_id: int
    edit_version: int
    profile_version: int
    username: str
    display_name: str
    bio: str
    persona_id: int
    persona_version_id: int
    persona: str
    persona_number: int
    token_id: int | None
    token: str | None
    token_url: str | None
    llm_url: str
    llm_model: str
    parameters: Values
    is_active: bool
    is_banned: bool
    tags: tuple[str, ...] = ()

    @property
    def persona_words(self) -> str:
        return f"{self.persona}, version {self.persona_number}"


@dataclass(frozen=True)
class NewTwin:
    """A twin to be added, with the names the audit trail has for its persona and token."""

    username: str
    display_name: str
    bio: str
    persona_version_id: int
    persona_words: str
    token_id: int | None = None
    token: str | None = None
    llm_url: str = ""
    llm_model: str = ""
    parameters: Values = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    is_active: bool = True


@dataclass(frozen=True)
class TwinEdit:
    """A change of a twin: columns of its own and of its profile, all its tags (None: as they are), and what
    the audit trail keeps."""

    twin: TwinNow
    values: Values
    profile_values: Values
    tags: tuple[str, ...] | None
    before: Values
    after: Values


def as_new(twin: TwinNow, username: str, is_active: bool) -> NewTwin:
    """A copy of a twin for another experiment."""
    return NewTwin(
        username, twin.display_name, twin.bio, twin.persona_version_id, twin.persona_words, twin.token_id,
        twin.token, twin.llm_url, twin.llm_model, twin.parameters, twin.tags, is_active,
    )  # fmt: skip


def read_twins(session: Session, *where: ColumnElement[bool]) -> list[TwinNow]:
    """The twins for which this holds, by id. Two queries."""
    query = (
        select(
            DigitalTwin.id, DigitalTwin.user_profile_id, DigitalTwin.experiment_id, DigitalTwin.edit_version,
            UserProfile.edit_version, UserProfile.username, UserProfile.display_name, UserProfile.bio,
            Persona.id, DigitalTwin.persona_version_id, Persona.name, PersonaVersion.number,
            DigitalTwin.api_token_id, ApiToken.name, ApiToken.base_url,
            DigitalTwin.llm_url, DigitalTwin.llm_model, DigitalTwin.parameters, DigitalTwin.is_active,
            UserProfile.is_banned,
        )
        .join(UserProfile, UserProfile.id == DigitalTwin.user_profile_id)
        .join(PersonaVersion, PersonaVersion.id == DigitalTwin.persona_version_id)
        .join(Persona, Persona.id == PersonaVersion.persona_id)
        .outerjoin(ApiToken, ApiToken.id == DigitalTwin.api_token_id)
        .where(*where)
        .order_by(DigitalTwin.id)
    )  # fmt: skip
    tags = (
        select(TwinTag.digital_twin_id, TwinTag.tag)
        .join(DigitalTwin, DigitalTwin.id == TwinTag.digital_twin_id)
        .join(UserProfile, UserProfile.id == DigitalTwin.user_profile_id)
        .where(*where)
        .order_by(TwinTag.tag)
    )
    tags_of: dict[int, list[str]] = {}
    for key, tag in session.execute(tags):
        tags_of.setdefault(key, []).append(tag)
    return [TwinNow(*row, tuple(tags_of.get(row[0], ()))) for row in session.execute(query)]


def read_twins_by_id(session: Session, ids: Sequence[int]) -> list[TwinNow]:
    """The twins with these ids, by id; ids of none are left out."""
    found: list[TwinNow] = []
    for part in portions(sorted(set(ids))):
        found += read_twins(session, DigitalTwin.id.in_(part))
    return found


def add_twins(
    session: Session,
    experiment: Experiment,
    new: Sequence[NewTwin],
    now: datetime,
    account: Account | None = None,
) -> list[int]:
    """The ids of the twins added with their profiles, in the order of `new`; active ranks stay dense.

    Raises IntegrityError when a username is taken.
    """
    if not new:
        return []
    session.execute(
        insert(UserProfile.__table__),
        [
            {
                "experiment_id": experiment.id, "username": each.username,
                "username_key": username_key(each.username), "display_name": each.display_name,
                "bio": each.bio, "is_bot": True, "is_banned": False, "created_at": now,
            }
            for each in new
        ],
    )  # fmt: skip
    of_experiment = UserProfile.experiment_id == experiment.id
    profiles = {
        key: number
        for key, number in session.execute(
            select(UserProfile.username_key, UserProfile.id).where(of_experiment)
        )
    }
    own = [profiles[username_key(each.username)] for each in new]
    rank = experiment.active_twin_count
    experiment.rank_mark += 1
    rows = []
    for each, profile in zip(new, own, strict=True):
        rows.append(
            {
                "experiment_id": experiment.id, "user_profile_id": profile,
                "persona_version_id": each.persona_version_id, "api_token_id": each.token_id,
                "llm_url": each.llm_url, "llm_model": each.llm_model, "parameters": each.parameters,
                "is_active": each.is_active, "active_rank": rank if each.is_active else None,
                "rank_mark": experiment.rank_mark, "created_at": now,
            }
        )  # fmt: skip
        rank += each.is_active
    session.execute(insert(DigitalTwin.__table__), rows)
    experiment.active_twin_count = rank
    session.flush()
    query = select(DigitalTwin.user_profile_id, DigitalTwin.id).where(
        DigitalTwin.experiment_id == experiment.id
    )
    twins = {profile: number for profile, number in session.execute(query)}
    ids = [twins[profile] for profile in own]
    _add_tags(session, ((number, tag) for number, each in zip(ids, new, strict=True) for tag in each.tags))
    _record(
        session, "create", now, account,
        (
            (number, f"@{each.username}", experiment.id, None, _shown(each))
            for number, each in zip(ids, new, strict=True)
        ),
    )  # fmt: skip
    return ids


def change_twins(
    session: Session, edits: Sequence[TwinEdit], now: datetime, account: Account | None = None
) -> None:
    """Writes these changes and counts them as edits. Activity is not among them: ranks are moved apart."""
    _update(session, DigitalTwin, ((each.twin.id, each.twin.edit_version, each.values) for each in edits))
    _update(
        session, UserProfile,
        (
            (each.twin.profile_id, each.twin.profile_version, each.profile_values)
            for each in edits if each.profile_values
        ),
    )  # fmt: skip
    tagged = [each for each in edits if each.tags is not None]
    for part in portions([each.twin.id for each in tagged]):
        session.execute(
            delete(TwinTag)
            .where(TwinTag.digital_twin_id.in_(part))
            .execution_options(synchronize_session=False)
        )
    _add_tags(session, ((each.twin.id, tag) for each in tagged for tag in each.tags or ()))
    _record(
        session, "change", now, account,
        (
            (each.twin.id, f"@{each.twin.username}", each.twin.experiment_id, each.before, each.after)
            for each in edits
        ),
    )  # fmt: skip
    for row in [each for each in session if isinstance(each, DigitalTwin | UserProfile)]:
        session.expire(row)


def record_rows(
    session: Session,
    action: str,
    table: str,
    now: datetime,
    account: Account | None,
    rows: Iterable[tuple[int, str, int | None, Values | None, Values | None]],
) -> None:
    """Audit events about many rows: (id, name, experiment's id, before, after) each."""
    actor = account.email if account else audit.COMMAND_LINE
    values = [
        {
            "account_id": account.id if account else None, "actor": actor, "action": action,
            "object_type": table, "object_id": number, "object_name": name[:255],
            "experiment_id": experiment_id, "before": before, "after": after, "created_at": now,
        }
        for number, name, experiment_id, before, after in rows
    ]  # fmt: skip
    if values:
        session.execute(insert(AuditEvent.__table__), values)


def _record(session: Session, action: str, now: datetime, account: Account | None, rows) -> None:
    record_rows(session, action, "digital_twin", now, account, rows)


def _add_tags(session: Session, pairs: Iterable[tuple[int, str]]) -> None:
    rows = [{"digital_twin_id": number, "tag": tag} for number, tag in pairs]
    if rows:
        session.execute(insert(TwinTag.__table__), rows)


def _update(session: Session, kind: type, changes: Iterable[tuple[int, int, Values]]) -> None:
    """One statement, many times over, for all rows that have the same columns changed."""
    groups: dict[tuple[str, ...], list[Values]] = {}
    for number, version, values in changes:
        bound = {f"to_{name}": value for name, value in values.items()}
        row = {"of_id": number, "to_edit_version": version + 1, **bound}
        groups.setdefault(tuple(sorted(values)), []).append(row)
    table = kind.__table__
    for names, rows in groups.items():
        given = {name: bindparam(f"to_{name}", type_=table.c[name].type) for name in (*names, "edit_version")}
        session.connection().execute(
            update(table).where(table.c.id == bindparam("of_id")).values(given), rows
        )


def _shown(each: NewTwin) -> Values:
    return {
        "username": each.username,
        "display_name": each.display_name,
        "persona": each.persona_words,
        "token": each.token,
        "llm_url": each.llm_url,
        "llm_model": each.llm_model,
        "parameters": each.parameters,
        "is_active": each.is_active,
    }

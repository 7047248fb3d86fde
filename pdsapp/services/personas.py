"""Personas and their versions."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from ..domain.policy import content_hash
from ..errors import BadInput
from ..models import Account, DigitalTwin, Persona, PersonaVersion
from . import audit
from .fields import PERSONA_LIMIT, clean_line, clean_text


def add_persona(
    session: Session, name: str, text: str, now: datetime, account: Account | None = None, notes: str = ""
) -> PersonaVersion:
    """The first version of a new persona. The caller commits. Raises BadInput, also on a taken name."""
    name = clean_line(name, "name", 120)
    if find_persona(session, name) is not None:
        raise BadInput(f"There is a persona named “{name}” already. Choose another name.", "name")
    persona = Persona(
        name=name,
        notes=clean_text(notes, "notes", 4000, required=False),
        created_at=now,
        created_by_id=account.id if account else None,
    )
    session.add(persona)
    session.flush()
    version = add_version(session, persona, text, now, account)
    audit.record(session, "create", persona, now, account, after={"name": name, "version": 1})
    return version


def add_version(
    session: Session, persona: Persona, text: str, now: datetime, account: Account | None = None
) -> PersonaVersion:
    """A version with this text: the latest one if it says the same, else a new one. No commit."""
    text = clean_text(text, "text", PERSONA_LIMIT)
    latest = latest_version(session, persona)
    if latest is not None and latest.text == text:
        return latest
    persona.latest_number += 1
    version = PersonaVersion(
        persona_id=persona.id,
        number=persona.latest_number,
        text=text,
        hash=content_hash(text),
        created_at=now,
        created_by_id=account.id if account else None,
    )
    session.add(version)
    session.flush()
    return version


def latest_version(session: Session, persona: Persona) -> PersonaVersion | None:
    """The newest version, None before there is one."""
    return session.scalars(
        select(PersonaVersion)
        .where(PersonaVersion.persona_id == persona.id)
        .order_by(PersonaVersion.number.desc())
        .limit(1)
    ).one_or_none()


def find_persona(session: Session, name: str) -> Persona | None:
    """The persona with this name, whatever the case."""
    name = name.strip()
    # SQLite's lower() leaves letters beyond a–z as they are, so É is found as it is written.
    is_named = or_(func.lower(Persona.name) == name.lower(), Persona.name == name)
    return session.scalars(select(Persona).where(is_named).order_by(Persona.id).limit(1)).first()


def add_version_of(session: Session, name: str, text: str, now: datetime) -> PersonaVersion:
    """A version with this text of the persona with this name, either added if missing. No commit."""
    persona = find_persona(session, name)
    if persona is None:
        return add_persona(session, name, text, now)
    return add_version(session, persona, text, now)


def twin_counts(session: Session, keys: Sequence[int]) -> dict[int, int]:
    """How many twins have each of these personas, in any version; those with none are left out. One query."""
    return {key: twins for key, (twins, _) in uses_of(session, keys).items()}


def uses_of(session: Session, keys: Sequence[int]) -> dict[int, tuple[int, int]]:
    """(twins, experiments) by which each of these personas is used, in any version. One query."""
    query = (
        select(
            PersonaVersion.persona_id,
            func.count(DigitalTwin.id),
            func.count(DigitalTwin.experiment_id.distinct()),
        )
        .join(DigitalTwin, DigitalTwin.persona_version_id == PersonaVersion.id)
        .where(PersonaVersion.persona_id.in_(keys))
        .group_by(PersonaVersion.persona_id)
    )
    return {key: (twins, experiments) for key, twins, experiments in session.execute(query)}

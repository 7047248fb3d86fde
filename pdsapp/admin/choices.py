"""Rows that select fields and filters offer."""

from collections.abc import Sequence

from flask import request
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from ..domain.reasons import OVER_STATES, ExperimentState, TokenState
from ..extensions import db
from ..models import ApiToken, Experiment, Persona, PersonaVersion, UserProfile
from ..web import frame
from .forms import MOST_OFFERED, RowField

MOST = MOST_OFFERED
Pairs = list[tuple[int, str]]


def as_text(pairs: Pairs) -> list[tuple[str, str]]:
    """The pairs with their ids as text, for a filter."""
    return [(str(key), label) for key, label in pairs]


def personas(session: Session) -> Pairs:
    """All personas by name."""
    return [
        tuple(row)
        for row in session.execute(select(Persona.id, Persona.name).order_by(Persona.name).limit(MOST))
    ]


def library(session: Session) -> Pairs:
    """The personas that are not archived, by name."""
    query = select(Persona.id, Persona.name).where(Persona.is_archived.is_(False))
    return [tuple(row) for row in session.execute(query.order_by(Persona.name).limit(MOST))]


def persona_versions(session: Session, present: PersonaVersion | None = None) -> Pairs:
    """The latest version of each persona by name; `present` too, if it is an older one."""
    query = (
        select(PersonaVersion.id, Persona.name, PersonaVersion.number)
        .join(
            Persona,
            and_(Persona.id == PersonaVersion.persona_id, Persona.latest_number == PersonaVersion.number),
        )
        .where(or_(Persona.is_archived.is_(False), PersonaVersion.id == (present.id if present else 0)))
        .order_by(Persona.name)
        .limit(MOST)
    )
    pairs = [(key, f"{name}, version {number}") for key, name, number in session.execute(query)]
    if present is not None and present.id not in {key for key, _ in pairs}:
        pairs.insert(0, (present.id, f"{present} (older; stays on it)"))
    return pairs


def tokens(session: Session, present: ApiToken | None = None) -> Pairs:
    """The tokens that are not archived, by name; `present` too."""
    query = (
        select(ApiToken.id, ApiToken.name, ApiToken.state)
        .where(or_(ApiToken.state != TokenState.archived, ApiToken.id == (present.id if present else 0)))
        .order_by(ApiToken.name)
        .limit(MOST)
    )
    pairs = [
        (key, name if state == TokenState.active else f"{name} ({state})")
        for key, name, state in session.execute(query)
    ]
    if present is not None and present.id not in {key for key, _ in pairs}:  # beyond the first
        pairs.insert(0, (present.id, present.name))
    return pairs


def people(session: Session, experiment: Experiment | None) -> Pairs:
    """The people of an experiment, or of all that are not over, by username."""
    query = (
        select(UserProfile.id, UserProfile.username, UserProfile.display_name, Experiment.name)
        .join(Experiment, Experiment.id == UserProfile.experiment_id)
        .where(UserProfile.is_bot.is_(False), Experiment.state.not_in(OVER_STATES))
        .order_by(UserProfile.username_key)
        .limit(MOST)
    )
    if experiment is not None:
        query = query.where(UserProfile.experiment_id == experiment.id)
    return [
        (key, f"@{username}, {shown}" if experiment else f"@{username}, {shown} · {name}")
        for key, username, shown, name in session.execute(query)
    ]


def experiments(
    session: Session, except_states: Sequence[ExperimentState] = (ExperimentState.archived,)
) -> Pairs:
    """The experiments, newest first."""
    query = (
        select(Experiment.id, Experiment.name, Experiment.identifier)
        .where(Experiment.state.notin_(except_states))
        .order_by(Experiment.id.desc())
        .limit(MOST)
    )
    return [(key, f"{name} ({identifier})") for key, name, identifier in session.execute(query)]


def offer_experiments(field: RowField) -> None:
    """Offers the experiments one may add to; the chosen one, or the only one, is preset."""
    pairs = experiments(db.session(), tuple(OVER_STATES))
    field.offer(pairs)
    present = frame.current_experiment()
    if not field.data and request.method == "GET":
        if present is not None:
            field.data = str(present.id)
        elif len(pairs) == 1:
            field.data = str(pairs[0][0])

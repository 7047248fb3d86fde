"""Importing personas: what it would do with each, then all of it or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from ..errors import BadInput
from ..models import Account, Persona, PersonaVersion
from . import edits, personas
from .persona_files import PersonaRow

CHANGED_MEANWHILE = (
    "Somebody has changed one of these personas since this table was made, so nothing was imported. Look at "
    "the table again and confirm once more."
)


class Verb(StrEnum):
    """Closed set: what becomes of a row."""

    create = "create"
    update = "update"
    notes = "notes"
    same = "same"


@dataclass(frozen=True)
class Step:
    """What an import would do with one row. `number` is the version it would have, `twins` those it has."""

    row: PersonaRow
    verb: Verb
    number: int = 1
    persona: Persona | None = None
    text_before: str = ""
    twins: int = 0


@dataclass(frozen=True)
class Plan:
    """All steps, in the order of the rows. `fingerprint` changes with anything they depend on."""

    steps: tuple[Step, ...]
    fingerprint: str

    def count(self, verb: Verb) -> int:
        """How many rows that is done with."""
        return sum(step.verb == verb for step in self.steps)

    @property
    def changes_nothing(self) -> bool:
        return all(step.verb == Verb.same for step in self.steps)


def make_plan(session: Session, rows: Sequence[PersonaRow]) -> Plan:
    """What importing these rows would do now. Reads only, in four queries."""
    found = _by_name(session, rows)
    keys = [persona.id for persona in found.values()]
    texts = _latest_texts(session, keys)
    twins = personas.twin_counts(session, keys)
    steps = []
    for row in rows:
        persona = found.get(row.name.casefold())
        if persona is None:
            steps.append(Step(row, Verb.create))
            continue
        before = texts.get(persona.id, "")
        is_other = before != row.text
        has_notes = row.notes is not None and row.notes != persona.notes
        verb = Verb.update if is_other else Verb.notes if has_notes else Verb.same
        number = persona.latest_number + (1 if is_other else 0)
        steps.append(Step(row, verb, number, persona, before, twins.get(persona.id, 0)))
    facts = [(s.row, s.verb, s.persona.id if s.persona else 0, s.number) for s in steps]
    seen = [(s.persona.id, s.persona.edit_version) for s in steps if s.persona]
    return Plan(tuple(steps), sha256(repr((facts, seen)).encode()).hexdigest()[:32])


def import_personas(
    session: Session,
    rows: Sequence[PersonaRow],
    fingerprint: str,
    now: datetime,
    account: Account | None = None,
) -> Plan:
    """Carries out the plan with this fingerprint; twins stay on the versions they have. The caller commits.

    Raises BadInput when the plan would be another one by now, and then the caller must roll back.
    """
    plan = make_plan(session, rows)
    if plan.fingerprint != fingerprint:
        raise BadInput(CHANGED_MEANWHILE)
    for step in sorted(plan.steps, key=_order):
        row, persona = step.row, step.persona
        if persona is None:
            personas.add_persona(session, row.name, row.text, now, account, row.notes or "")
        elif step.verb != Verb.same:
            edits.change_persona(
                session, persona, persona.edit_version, now,
                name=persona.name, text=row.text, account=account,
                notes=persona.notes if row.notes is None else row.notes,
            )  # fmt: skip
    return plan


def _order(step: Step) -> tuple[int, str]:
    """What is new by its name, then what is there by its id: two at once take locks in the same order."""
    return step.persona.id if step.persona else 0, step.row.name.casefold()


def _by_name(session: Session, rows: Sequence[PersonaRow]) -> dict[str, Persona]:
    """The personas that have these names, whatever the case, by the folded name."""
    wanted = {row.name.casefold() for row in rows}
    # Not in SQL: databases fold letters beyond a–z differently, SQLite not at all.
    names = session.execute(select(Persona.id, Persona.name).order_by(Persona.id))
    keys = [key for key, name in names if name.casefold() in wanted]
    query = select(Persona).where(Persona.id.in_(keys)).order_by(Persona.id)
    found: dict[str, Persona] = {}
    for persona in session.scalars(query.execution_options(populate_existing=True)):
        found.setdefault(persona.name.casefold(), persona)
    return found


def _latest_texts(session: Session, keys: Sequence[int]) -> dict[int, str]:
    latest = and_(Persona.id == PersonaVersion.persona_id, Persona.latest_number == PersonaVersion.number)
    query = select(Persona.id, PersonaVersion.text).join(PersonaVersion, latest)
    return {key: text for key, text in session.execute(query.where(Persona.id.in_(keys)))}

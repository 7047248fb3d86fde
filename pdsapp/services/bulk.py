"""Bulk set-up of twins: all of them, or none and a list of what is wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import cycle, islice
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain.policy import content_hash
from ..errors import BadInput
from ..models import Account, ApiToken, DigitalTwin, Experiment, Persona, PersonaVersion
from . import protocol, twin_rows
from .bulk_facts import read_facts
from .bulk_files import CellError, Row, Sheet
from .bulk_plan import Options, PersonaChoice, Plan, Step, Verb, decide, make_plan, slug
from .chunks import portions
from .demo_cast import TWINS
from .editing import hold_experiment
from .edits import TWIN_PARTS
from .fields import clean_username
from .twin_rows import NewTwin, TwinEdit

TWIN_LIMIT = 100_000
ERRORS_SAID = 50
CHANGED_MEANWHILE = (
    "Somebody has changed what this plan was made from: a username, a persona, a token or one of the twins. "
    "Nothing was set up. Look at the new plan and confirm once more."
)


class BulkErrors(BadInput):
    """Rows that cannot be set up; nothing was changed. `errors` lists them."""

    def __init__(self, errors: Sequence[CellError]):
        lines = "\n".join(f"  {e.place}: {e.column or 'row'}: {e.message}" for e in errors[:ERRORS_SAID])
        super().__init__(f"Nothing was set up. {len(errors):,} things have to be mended:\n{lines}")
        self.errors = errors


class PlanChanged(BadInput):
    """What was planned is not what would be done by now; nothing was changed."""

    def __init__(self) -> None:
        super().__init__(CHANGED_MEANWHILE)


@dataclass(frozen=True)
class Done:
    """What a set-up has done: the ids of new twins in the order of their rows, and how many others."""

    created: tuple[int, ...]
    updated: int
    skipped: int


def built_in_rows() -> list[Row]:
    """The ten personas that come with the product."""
    return [
        Row(place=name, persona=text, persona_name=name, username=username, display_name=shown, bio=bio)
        for username, shown, bio, name, text in TWINS
    ]


def expand(rows: Sequence[Row], count: int | None) -> tuple[Row, ...]:
    """`count` rows (default: these), repeated as often as needed; repeated ones make up their usernames."""
    wanted = len(rows) if count is None else count
    if not 1 <= wanted <= TWIN_LIMIT:
        raise BadInput(f"The number of twins must be between 1 and {TWIN_LIMIT:,}.", "count")
    return tuple(
        row
        if number < len(rows)
        else replace(
            row, username="", pattern=row.username.strip() or row.pattern, place=f"{row.place} (again)"
        )
        for number, row in enumerate(islice(cycle(rows), wanted))
    )


def pattern_rows(names: Sequence[str], count: int, pattern: str) -> tuple[Row, ...]:
    """`count` twins for each of these personas of the library, with usernames like `{persona}_{n}`.

    Raises BadInput at `count` and `pattern`.
    """
    if not names:
        raise BadInput("Choose at least one persona.", "chosen")
    if not 1 <= count <= TWIN_LIMIT // len(names):
        raise BadInput(f"Write a number from 1 to {TWIN_LIMIT // len(names):,}.", "count")
    bare = pattern.strip().removeprefix("@").replace("{persona}", "").replace("{n}", "")
    if "{n}" not in pattern or {"{", "}"} & set(bare):
        raise BadInput(
            "Use {n} for a number that counts up, and {persona} for the persona's name, nothing else in "
            "braces. Example: {persona}_{n}",
            "pattern",
        )
    patterns = [pattern.strip().removeprefix("@").replace("{persona}", slug(name)) for name in names]
    for own in patterns:
        clean_username(own.replace("{n}", str(count)), "pattern")
    return tuple(
        Row(place=f"{name}, twin {number}", persona_name=name, pattern=own)
        for name, own in zip(names, patterns, strict=True)
        for number in range(1, count + 1)
    )


def set_up_twins(
    session: Session,
    experiment: Experiment,
    rows: Sequence[Row],
    count: int | None,
    now: datetime,
    token: ApiToken | None = None,
    is_active: bool = True,
) -> list[DigitalTwin]:
    """The new twins of `count` rows (default: these), rows repeated as often as needed. The caller commits.

    Raises BulkErrors, and then the caller must roll back.
    """
    session.flush()
    options = Options(token.id if token else None, is_active)
    plan = make_plan(session, experiment, Sheet(expand(rows, count)), options)
    done = carry_out(session, experiment, plan, now)
    found: dict[int, DigitalTwin] = {}
    for part in portions(done.created):
        found |= {
            twin.id: twin for twin in session.scalars(select(DigitalTwin).where(DigitalTwin.id.in_(part)))
        }
    return [found[number] for number in done.created]


def carry_out(
    session: Session,
    experiment: Experiment,
    plan: Plan,
    now: datetime,
    reason: str = "",
    account: Account | None = None,
    tell: Callable[[str], None] = lambda words: None,
) -> Done:
    """Does all of the plan in the caller's transaction. The caller commits, or rolls back on any error.

    The plan was made before, perhaps in another transaction: this one looks again at the facts behind the
    lock of the experiment. Raises BulkErrors; PlanChanged when it would be another plan by now; BadInput at
    `reason` when a study under way needs one.
    """
    hold_experiment(session, experiment.id)
    session.refresh(experiment)
    sheet = Sheet(tuple(step.row for step in plan.steps))
    facts = read_facts(session, experiment, sheet.rows)
    if facts != plan.facts:
        again = decide(sheet, facts, plan.options)
        if again.fingerprint != plan.fingerprint:
            raise PlanChanged
        plan = replace(again, errors=plan.errors)
    if plan.errors:
        raise BulkErrors(plan.errors)
    try:
        versions = _add_versions(session, plan, now, account)
        new = [_new(step, versions, plan.options) for step in plan.steps if step.verb == Verb.create]
        created = twin_rows.add_twins(session, experiment, new, now, account)
        edits = [_edit(step, versions) for step in plan.steps if step.verb == Verb.update]
        twin_rows.change_twins(session, edits, now, account)
    except IntegrityError:
        raise PlanChanged from None
    _record_protocol(session, experiment, plan, now, reason, account)
    return Done(tuple(created), len(edits), plan.count(Verb.skip))


def _add_versions(session: Session, plan: Plan, now: datetime, account: Account | None) -> dict[str, int]:
    """The ids of the persona versions of all rows, by the folded name; what is missing is added."""
    choices = {step.wanted.persona.key: step.wanted.persona for step in plan.steps if step.wanted.persona}
    made_by = account.id if account else None
    # By key: of two set-ups with the same personas, one waits for the other, never each for each.
    new = sorted((c for c in choices.values() if c.persona_id is None), key=lambda each: each.key)
    known = {each.key: each.persona_id for each in choices.values() if each.persona_id is not None}
    if new:
        session.execute(
            insert(Persona.__table__),
            [
                {
                    "name": each.name, "notes": "", "is_archived": False, "latest_number": 1,
                    "created_at": now, "created_by_id": made_by,
                }
                for each in new
            ],
        )  # fmt: skip
        of_name = {name: number for name, number in session.execute(select(Persona.name, Persona.id))}
        known |= {each.key: of_name[each.name] for each in new}
        twin_rows.record_rows(
            session, "create", "persona", now, account,
            ((known[each.key], each.name, None, None, {"name": each.name, "version": 1}) for each in new),
        )  # fmt: skip
    texts = [each for each in choices.values() if each.version_id is None]
    _raise_numbers(session, [each for each in texts if each.persona_id is not None], now, account)
    if texts:
        session.execute(
            insert(PersonaVersion.__table__),
            [
                {
                    "persona_id": known[each.key], "number": each.number, "text": each.text,
                    "hash": content_hash(each.text), "created_at": now, "created_by_id": made_by,
                }
                for each in texts
            ],
        )  # fmt: skip
    versions = {each.key: each.version_id for each in choices.values() if each.version_id is not None}
    numbers = {(known[each.key], each.number): each.key for each in texts}
    for part in portions([persona for persona, _ in numbers]):
        query = select(PersonaVersion.id, PersonaVersion.persona_id, PersonaVersion.number)
        for number, persona_id, of in session.execute(query.where(PersonaVersion.persona_id.in_(part))):
            if (key := numbers.get((persona_id, of))) is not None:
                versions[key] = number
    return versions


def _raise_numbers(
    session: Session, choices: Sequence[PersonaChoice], now: datetime, account: Account | None
) -> None:
    for each in sorted(choices, key=lambda choice: choice.persona_id):
        changed = session.execute(
            update(Persona)
            .where(Persona.id == each.persona_id, Persona.latest_number == each.number - 1)
            .values(latest_number=each.number, edit_version=Persona.edit_version + 1)
        )
        if not changed.rowcount:
            raise PlanChanged
    twin_rows.record_rows(
        session, "change", "persona", now, account,
        (
            (each.persona_id, each.name, None, {"version": each.number - 1}, {"version": each.number})
            for each in choices
        ),
    )  # fmt: skip


def _new(step: Step, versions: dict[str, int], options: Options) -> NewTwin:
    wanted = step.wanted
    return NewTwin(
        username=step.username,
        display_name=wanted.display_name or step.username,
        bio=wanted.bio or "",
        persona_version_id=versions[wanted.persona.key],
        persona_words=wanted.persona.words,
        token_id=wanted.token.id if wanted.token else None,
        token=wanted.token.name if wanted.token else None,
        llm_url=wanted.llm_url or "",
        llm_model=wanted.llm_model or "",
        parameters=wanted.parameters or {},
        tags=wanted.tags or (),
        is_active=options.is_active,
    )


def _edit(step: Step, versions: dict[str, int]) -> TwinEdit:
    values, profile_values = {}, {}
    for change in step.changes:
        if change.field == "persona":
            values["persona_version_id"] = versions[step.wanted.persona.key]
        elif change.field == "token":
            values["api_token_id"] = step.wanted.token.id
        elif change.field in ("display_name", "bio"):
            profile_values[change.field] = change.after
        elif change.field != "tags":
            values[change.field] = change.after
    retagged = any(change.field == "tags" for change in step.changes)
    return TwinEdit(
        step.twin, values, profile_values,
        step.wanted.tags if retagged else None,
        {change.field: _shown(change.before) for change in step.changes},
        {change.field: _shown(change.after) for change in step.changes},
    )  # fmt: skip


def _shown(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, tuple) else value


def _record_protocol(
    session: Session,
    experiment: Experiment,
    plan: Plan,
    now: datetime,
    reason: str,
    account: Account | None,
) -> None:
    """One protocol change for each part, however many twins it is about."""
    for part, names in TWIN_PARTS.items():
        changes = [[change for change in step.changes if change.field in names] for step in plan.steps]
        pairs = [({c.field: c.before for c in found}, {c.field: c.after for c in found}) for found in changes]
        protocol.record_twins(
            session,
            experiment,
            part,
            [pair for pair in pairs if pair[0]],
            now,
            reason=reason,
            account=account,
        )

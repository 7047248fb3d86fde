"""Changing or copying many twins at once: what it would do, counted, then all of it or nothing."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..attempts.gate import close_gate
from ..attempts.ranks import set_active_many
from ..domain.reasons import OVER_STATES
from ..errors import BadInput
from ..models import Account, ApiToken, DigitalTwin, Experiment, PersonaVersion, UserProfile
from . import pauses, persona_moves, protocol, twin_rows, twins
from .chunks import portions
from .edits import TWIN_PARTS
from .fields import MOST_TAGS, parameters_words, username_key
from .twin_rows import NewTwin, TwinEdit, TwinNow

# One write transaction; on SQLite everybody else waits for it, some 2 s for so many.
MOST_TWINS = 5_000
CHANGED = (
    "Somebody has changed one of these twins since the counts were made, so nothing was changed. Look at the "
    "counts again and confirm once more."
)
ACTIVITY = {True: "active", False: "inactive"}


@dataclass(frozen=True)
class Wish:
    """What is to become of all twins. None leaves a value as it is."""

    persona: PersonaVersion | None = None
    token: ApiToken | None = None
    drops_token: bool = False
    llm_model: str | None = None
    parameters: dict[str, Any] | None = None
    is_active: bool | None = None
    tags_added: tuple[str, ...] = ()
    tags_removed: tuple[str, ...] = ()
    copy_to: Experiment | None = None
    copies_are_active: bool = False

    @property
    def is_empty(self) -> bool:
        return self == Wish()


@dataclass(frozen=True)
class Count:
    """One value before or after, and how many twins have it."""

    words: str
    twins: int


@dataclass(frozen=True)
class FieldChange:
    """What would change of one field: only the twins that change are counted."""

    name: str
    before: tuple[Count, ...]
    after: tuple[Count, ...]
    twins: int


@dataclass(frozen=True)
class Copy:
    """A twin that would be added, and the one it is a copy of."""

    source: TwinNow
    new: NewTwin


@dataclass(frozen=True)
class EditPlan:
    """What would be done. `fingerprint` changes with anything it depends on; `dodged` copies get another
    username than their original."""

    wish: Wish
    twins: tuple[TwinNow, ...]
    edits: tuple[TwinEdit, ...]
    switched: tuple[TwinNow, ...]
    copies: tuple[Copy, ...]
    changes: tuple[FieldChange, ...]
    over: tuple[Experiment, ...]
    guarded: tuple[Experiment, ...]
    fingerprint: str

    @property
    def dodged(self) -> tuple[Copy, ...]:
        return tuple(each for each in self.copies if each.new.username != each.source.username)

    @property
    def needs_reason(self) -> bool:
        return bool(self.guarded)

    @property
    def changes_nothing(self) -> bool:
        return not (self.edits or self.switched or self.copies)


def make_plan(session: Session, ids: Sequence[int], wish: Wish) -> EditPlan:
    """What this would do with these twins now. Reads only. Raises BadInput."""
    if wish.is_empty:
        raise BadInput("Choose at least one thing to change.")
    if wish.copy_to is not None and replace(wish, copy_to=None, copies_are_active=False) != Wish():
        raise BadInput("Change the twins or copy them, one after the other.", "copy_to")
    if len(ids) > MOST_TWINS:
        raise BadInput(f"These are {len(ids):,} twins; at most {MOST_TWINS:,} are changed at once.")
    found = twin_rows.read_twins_by_id(session, ids)
    if not found:
        raise BadInput("None of these twins is there any more.")
    keys = sorted({twin.experiment_id for twin in found})
    experiments = {e.id: e for e in session.scalars(select(Experiment).where(Experiment.id.in_(keys)))}
    if wish.copy_to is not None:
        edits, switched, copies = (), (), _copies(session, found, wish)
    else:
        edits = tuple(edit for twin in found if (edit := _edit(twin, wish)) is not None)
        switched = tuple(
            twin for twin in found if wish.is_active is not None and twin.is_active != wish.is_active
        )
        copies = ()
    guarded = {edit.twin.experiment_id for edit in edits if _protocol_names(edit)}
    touched = {edit.twin.experiment_id for edit in edits} | {twin.experiment_id for twin in switched}
    states = [(e.id, e.state) for e in experiments.values()]
    facts = (
        [(t.id, t.edit_version, t.profile_version, t.is_active, t.username) for t in found],
        [(e.twin.id, e.values, e.tags) for e in edits],
        [(c.source.id, c.new) for c in copies],
        wish.is_active, sorted(states), wish.copy_to and wish.copy_to.id,
    )  # fmt: skip
    return EditPlan(
        wish, tuple(found), edits, switched, copies,
        tuple(_counted(edits)),
        tuple(experiments[key] for key in sorted(touched) if experiments[key].state in OVER_STATES),
        tuple(experiments[key] for key in sorted(guarded) if protocol.needs_reason(experiments[key])),
        sha256(repr(facts).encode()).hexdigest()[:32],
    )  # fmt: skip


def carry_out(
    session: Session,
    ids: Sequence[int],
    wish: Wish,
    fingerprint: str,
    now: datetime,
    reason: str = "",
    account: Account | None = None,
) -> EditPlan:
    """Does what the plan with this fingerprint says, all of it. The caller commits; rolls back on an error.

    Raises BadInput when it is another plan by now, when an experiment is over, and at `reason` when a study
    under way needs one.
    """
    if wish.is_active is False:
        close_gate(session)  # what waits for them has to be cancelled
    keys: set[int] = set()
    for part in portions(sorted(set(ids))):
        keys.update(
            session.scalars(select(DigitalTwin.experiment_id).where(DigitalTwin.id.in_(part)).distinct())
        )
    persona_moves.hold(session, keys | ({wish.copy_to.id} if wish.copy_to else set()))
    plan = make_plan(session, ids, wish)
    if plan.fingerprint != fingerprint:
        raise BadInput(CHANGED)
    if plan.over:
        raise BadInput(f"{plan.over[0]} is {plan.over[0].state}: its twins stay as they are.")
    if wish.copy_to is not None:
        _add_copies(session, plan, now, account)
        return plan
    for experiment in session.scalars(
        select(Experiment).where(Experiment.id.in_(keys)).order_by(Experiment.id)
    ):
        of_it = [edit for edit in plan.edits if edit.twin.experiment_id == experiment.id]
        for part, names in TWIN_PARTS.items():
            pairs = [
                (
                    {n: e.before[n] for n in names if n in e.before},
                    {n: e.after[n] for n in names if n in e.after},
                )
                for e in of_it
            ]
            protocol.record_twins(
                session, experiment, part, [pair for pair in pairs if pair[1]], now,
                reason=reason, account=account,
            )  # fmt: skip
        switched = [twin for twin in plan.switched if twin.experiment_id == experiment.id]
        if switched:
            keys_of_it = [twin.id for twin in switched]
            set_active_many(session, experiment, keys_of_it, bool(wish.is_active))
            if not wish.is_active:
                pauses.cancel_waiting_of_many(session, keys_of_it, experiment.zone, now, account)
    twin_rows.change_twins(session, plan.edits, now, account)
    return plan


def _edit(twin: TwinNow, wish: Wish) -> TwinEdit | None:
    values: dict[str, Any] = {}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    def put(name: str, present: Any, wanted: Any, column: str = "", value: Any = None) -> None:
        if present != wanted:
            before[name], after[name] = present, wanted
            if column:
                values[column] = value

    if wish.persona is not None:
        put("persona", twin.persona_words, str(wish.persona), "persona_version_id", wish.persona.id)
    if wish.token is not None or wish.drops_token:
        if wish.token is not None and twin.llm_url:
            _check_url(twin, wish.token)
        name, key = (wish.token.name, wish.token.id) if wish.token else (None, None)
        put("token", twin.token, name, "api_token_id", key)
    if wish.llm_model is not None:
        put("llm_model", twin.llm_model, wish.llm_model, "llm_model", wish.llm_model)
    if wish.parameters is not None:
        put("parameters", twin.parameters, wish.parameters, "parameters", wish.parameters)
    if wish.is_active is not None:
        put("is_active", twin.is_active, wish.is_active)
    tags = tuple(sorted((set(twin.tags) | set(wish.tags_added)) - set(wish.tags_removed)))
    if len(tags) > max(MOST_TAGS, len(twin.tags)):
        raise BadInput(
            f"@{twin.username} would have {len(tags)} tags; at most {MOST_TAGS} fit.", "tags_added"
        )
    put("tags", ", ".join(twin.tags), ", ".join(tags))
    if not after:
        return None
    return TwinEdit(twin, values, {}, tags if "tags" in after else None, before, after)


def _check_url(twin: TwinNow, token: ApiToken) -> None:
    try:
        twins.clean_twin_url(twin.llm_url, token)
    except BadInput as error:
        raise BadInput(f"@{twin.username} has a URL of its own. {error}", "api_token") from None


def _counted(edits: Sequence[TwinEdit]) -> list[FieldChange]:
    """The fields that change, with how many twins have which value before and after."""
    names = {
        "persona": "Persona", "token": "API token", "llm_model": "Model", "parameters": "Parameters",
        "is_active": "State", "tags": "Tags",
    }  # fmt: skip
    found = []
    for name, label in names.items():
        of_it = [edit for edit in edits if name in edit.after]
        if of_it:
            before = _tally(_words(name, edit.before[name]) for edit in of_it)
            after = _tally(_words(name, edit.after[name]) for edit in of_it)
            found.append(FieldChange(label, before, after, len(of_it)))
    return found


def _tally(words: Iterable[str]) -> tuple[Count, ...]:
    return tuple(Count(each, number) for each, number in Counter(words).most_common())


def _words(name: str, value: Any) -> str:
    if name == "is_active":
        return ACTIVITY[value]
    return (parameters_words(value) if isinstance(value, dict) else value) or "none"


def _protocol_names(edit: TwinEdit) -> set[str]:
    return {name for names in TWIN_PARTS.values() for name in names} & edit.after.keys()


def _copies(session: Session, found: Sequence[TwinNow], wish: Wish) -> tuple[Copy, ...]:
    """The copies; a username that is taken there gets the first number that is free."""
    target = wish.copy_to
    if target.state in OVER_STATES:
        raise BadInput(f"{target} is {target.state}: it takes no more twins.", "copy_to")
    query = select(UserProfile.username_key).where(UserProfile.experiment_id == target.id)
    taken = set(session.scalars(query))
    copies = []
    for twin in found:
        username = _free(twin.username, taken)
        taken.add(username_key(username))
        is_active = twin.is_active and not twin.is_banned and wish.copies_are_active
        copies.append(Copy(twin, twin_rows.as_new(twin, username, is_active)))
    return tuple(copies)


def _free(username: str, taken: set[str]) -> str:
    number, found = 1, username
    while username_key(found) in taken:
        number += 1
        found = f"{username[: 29 - len(str(number))].rstrip('.-')}_{number}"
    return found


def _add_copies(session: Session, plan: EditPlan, now: datetime, account: Account | None) -> None:
    target = plan.wish.copy_to
    session.refresh(target)
    twin_rows.add_twins(session, target, [copy.new for copy in plan.copies], now, account)

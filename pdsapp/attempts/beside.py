"""What attempts point at, read for many of them together, and read into shape once."""

from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from ..domain.policy import PostingPolicy
from ..domain.prompt import PromptTemplates
from ..models import (
    ApiToken,
    Attempt,
    DigitalTwin,
    Experiment,
    PersonaVersion,
    PostingPolicyVersion,
    PromptVersion,
    Schedule,
    Slot,
)

# By row, so as long as the session that has read it.
_policies: WeakKeyDictionary[PostingPolicyVersion, PostingPolicy] = WeakKeyDictionary()
_templates: WeakKeyDictionary[PromptVersion, PromptTemplates] = WeakKeyDictionary()


def load_beside(session: Session, attempts: Iterable[Attempt]) -> None:
    """Reads what these attempts point at, a query for each kind of row, so that none is read by itself."""
    found = list(attempts)
    twins = _load(session, DigitalTwin, found, "digital_twin")
    experiments = _load(session, Experiment, found, "experiment")
    _load(session, Schedule, found, "schedule")
    load_slots(session, found)
    _load(session, ApiToken, twins, "api_token")
    _load(session, Experiment, twins, "experiment", experiments)
    for kind, name, others in (
        (PostingPolicyVersion, "policy", experiments),
        (PromptVersion, "prompt_version", experiments),
        (PersonaVersion, "persona_version", twins),
    ):
        _load(session, kind, found, name, [getattr(each, name) for each in others])  # they came with them


def load_slots(session: Session, attempts: Sequence[Attempt]) -> None:
    """Reads the slots of these attempts with one query; none where none has one."""
    _load(session, Slot, attempts, "slot")


def _load(
    session: Session, kind: type, pointing: Sequence[Any], name: str, known: Sequence[Any] = ()
) -> Sequence[Any]:
    """Reads the rows that `pointing` have under this name, with one query, and has them point there.

    Those `known` are not read again. The session holds them, or its identity map would let them go.
    """
    column = f"{name}_id"
    rows = {row.id: row for row in known}
    wanted = {key for each in pointing if (key := getattr(each, column)) is not None}
    if missing := sorted(wanted - rows.keys()):
        query = select(kind).where(inspect(kind).primary_key[0].in_(missing))
        read = session.scalars(query.execution_options(populate_existing=True)).unique().all()
        session.info.setdefault("beside", []).append(read)
        rows |= {row.id: row for row in read}
    for each in pointing:  # else each would look for it by itself, which costs more than reading it
        if (key := getattr(each, column)) in rows:
            set_committed_value(each, name, rows[key])
    return list(rows.values())


def policy_of(version: PostingPolicyVersion) -> PostingPolicy:
    """The policy a version holds, read into shape once for all attempts of a session. Raises PolicyError."""
    if version not in _policies:
        _policies[version] = PostingPolicy.from_dict(version.body)
    return _policies[version]


def templates_of(version: PromptVersion) -> PromptTemplates:
    """The templates a version holds, read into shape once for all attempts of a session."""
    if version not in _templates:
        _templates[version] = PromptTemplates.from_dict(version.body)
    return _templates[version]

"""What attempts point at, read for many of them together, and read into shape once."""

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

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
)

# By row, so as long as the session that has read it.
_policies: WeakKeyDictionary[PostingPolicyVersion, PostingPolicy] = WeakKeyDictionary()
_templates: WeakKeyDictionary[PromptVersion, PromptTemplates] = WeakKeyDictionary()


def load_beside(session: Session, attempts: Iterable[Attempt]) -> None:
    """Reads what these attempts point at, a query for each kind of row, so that none is read by itself."""
    found = list(attempts)
    twins = _load(session, DigitalTwin, (each.digital_twin_id for each in found))
    experiments = _load(session, Experiment, (each.experiment_id for each in found))
    _load(session, ApiToken, (each.api_token_id for each in twins))
    _load(session, Schedule, (each.schedule_id for each in found))
    for kind, own, of_others in (
        (PostingPolicyVersion, "policy_id", experiments),
        (PromptVersion, "prompt_version_id", experiments),
        (PersonaVersion, "persona_version_id", twins),
    ):
        _load(session, kind, (getattr(row, own) for row in (*found, *of_others)))


def _load(session: Session, kind: type, keys: Iterable[int | None]) -> list:
    """The rows with these keys, all read with one query; held by the session as long as the list is."""
    wanted = sorted({key for key in keys if key is not None})
    if not wanted:
        return []
    query = select(kind).where(inspect(kind).primary_key[0].in_(wanted))
    rows = session.scalars(query.execution_options(populate_existing=True)).unique().all()
    session.info.setdefault("beside", []).append(rows)  # else the identity map would let them go
    return list(rows)


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

"""Making experiments; the installation they live in. `services.lifecycle` starts and ends them."""

import os
from datetime import date, datetime
from secrets import token_hex

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from .. import grants
from ..domain.ids import experiment_identifier
from ..domain.policy import PostingPolicy
from ..domain.prompt import PromptTemplates
from ..domain.reasons import ASKING_STATES, ExperimentState
from ..models import Account, Experiment, Installation, Membership, PostingPolicyVersion, PromptVersion, Role
from . import audit
from .accounts import ROLES
from .ends import clean_end
from .fields import clean_line, clean_text, clean_zone


def ensure_installation(session: Session, now: datetime) -> Installation:
    """The installation's row with its seed, and the three roles; made if missing. The caller commits."""
    installation = session.get(Installation, 1)
    if installation is None:
        installation = Installation(id=1, seed=token_hex(16), created_at=now)
        session.add(installation)
    known = set(session.scalars(select(Role.name)))
    session.add_all(Role(name=name, description=words) for name, words in ROLES.items() if name not in known)
    session.flush()
    return installation


def stored_policy(session: Session, policy: PostingPolicy, now: datetime) -> PostingPolicyVersion:
    """The stored version with this content, added if it is new. The caller commits."""
    query = select(PostingPolicyVersion).where(PostingPolicyVersion.hash == policy.hash)
    found = session.scalars(query).one_or_none()
    if found is None:
        found = PostingPolicyVersion(
            hash=policy.hash, label=policy.label, body=policy.to_dict(), created_at=now
        )
        try:
            with session.begin_nested():
                session.add(found)
        except IntegrityError:  # another process stored the same in this moment
            return session.scalars(query).one()
    return found


def stored_prompt(session: Session, templates: PromptTemplates, now: datetime) -> PromptVersion:
    """The stored prompt version with this content, added if it is new. The caller commits."""
    found = session.scalars(select(PromptVersion).where(PromptVersion.hash == templates.hash)).one_or_none()
    if found is None:
        found = PromptVersion(hash=templates.hash, body=templates.to_dict(), created_at=now)
        session.add(found)
        session.flush()
    return found


def add_experiment(
    session: Session,
    name: str,
    zone: str,
    now: datetime,
    description: str = "",
    policy: PostingPolicy | None = None,
    is_demo: bool = False,
    account: Account | None = None,
    state: ExperimentState = ExperimentState.running,
    last_day: date | None = None,
    pauses_at_model_change: bool = False,
) -> Experiment:
    """An experiment with its own seed and copies of policy and prompt. The caller commits. Raises BadInput.

    `state`: draft for what people add and start by themselves; running begins at once, without a rehearsal.
    `last_day`, in its zone, is the last on which its twins are asked. An account that is granted single
    experiments is granted this one.
    """
    if state not in ASKING_STATES:
        raise ValueError(f"An experiment does not begin as {state}.")
    experiment = Experiment()
    experiment.name = clean_line(name, "name", 120)
    experiment.zone = clean_zone(zone)
    experiment.description = clean_text(description, "description", 4000, required=False)
    experiment.is_demo = is_demo
    experiment.state = state
    experiment.started_at = now if state == ExperimentState.running else None
    experiment.ends_at = clean_end(last_day, experiment.zone, now)
    experiment.pauses_at_model_change = pauses_at_model_change
    prepare_experiment(session, experiment, now, policy)
    experiment.created_by_id = account.id if account else None
    session.add(experiment)
    if account is not None and not account.sees_everything:
        session.flush()
        session.add(Membership(account_id=account.id, experiment_id=experiment.id, created_at=now))
        account.edit_version = Account.edit_version + 1  # a form that knows of one grant less is out of date
    after = {"name": experiment.name, "zone": zone, "state": state.value}
    if last_day is not None:
        after["last_day"] = last_day.isoformat()
    if pauses_at_model_change:
        after["pauses_at_model_change"] = True
    if policy is not None and not policy.limits.is_empty:
        after["limits"] = policy.limits.to_dict()
    audit.record(session, "create", experiment, now, account, after=after)
    return experiment


def prepare_experiment(
    session: Session, experiment: Experiment, now: datetime, policy: PostingPolicy | None = None
) -> None:
    """Gives a new experiment what no form asks for: identifier, seed, policy, prompt. No commit."""
    with session.no_autoflush:
        experiment.identifier = _free_identifier(session)
        experiment.seed = token_hex(16)
        experiment.policy_id = stored_policy(session, policy or PostingPolicy(), now).id
        experiment.prompt_version_id = stored_prompt(session, PromptTemplates(), now).id
        experiment.created_at = now


def _free_identifier(session: Session) -> str:
    while True:
        identifier = experiment_identifier(os.urandom(5))
        with grants.everything():
            taken = session.scalars(select(Experiment.id).where(Experiment.identifier == identifier)).first()
        if taken is None:
            return identifier

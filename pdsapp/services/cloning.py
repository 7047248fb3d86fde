"""Copies of an experiment: a study in six sections is set up once."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..domain.prompt import PromptTemplates
from ..domain.protocol import ProtocolPart
from ..domain.reasons import OVER_STATES, ExperimentState
from ..domain.targets import Target
from ..errors import BadInput
from ..models import Account, DigitalTwin, Experiment, Post, ProtocolChange, Schedule
from . import audit, experiments, limits, protocol, schedule_targets, schedules, twin_rows
from .editing import hold_experiment
from .fields import clean_line
from .schedule_wishes import Wish, wish_of

MOST_COPIES = 50
MOST_TWINS = 10_000  # one write transaction, some 2 s on SQLite


@dataclass(frozen=True)
class Sibling:
    """An experiment of a family beside the one it is compared with."""

    experiment: Experiment
    twins: int
    schedules: int
    posts: int
    has_same_policy: bool
    has_same_prompt: bool


def read_names(text: str | None) -> list[str]:
    """One name a line, empty lines left out. Raises BadInput at `names`."""
    names = [clean_line(line, "names", 120) for line in (text or "").splitlines() if line.strip()]
    if not names:
        raise BadInput("Write a name for each copy, one a line.", "names")
    if len(names) > MOST_COPIES:
        raise BadInput(
            f"These are {len(names)} names; at most {MOST_COPIES} copies are made at once.", "names"
        )
    lowered = [name.casefold() for name in names]
    if twice := next((name for name in names if lowered.count(name.casefold()) > 1), None):
        raise BadInput(f"“{twice}” stands here twice. Give each copy a name of its own.", "names")
    return names


def clone(
    session: Session,
    source: Experiment,
    names: list[str],
    now: datetime,
    *,
    with_twins: bool,
    with_schedules: bool,
    account: Account | None = None,
) -> list[Experiment]:
    """Copies with these names, each with a seed of its own; all or none. The caller commits. Raises BadInput.

    Each begins as a draft. Policy, prompt, zone, description and whether it pauses at another model are the
    source's, its end date is not. Twins keep persona version, token and tags; schedules are copied switched
    off; their tags stay, chosen twins are those of the copy with the same usernames, so that without twins
    such a schedule cannot be copied.
    Posts, people, attempts and pauses are never copied.
    """
    _hold(session, source)
    _check_room(session, source, len(names) if with_twins else 0)
    source.family_uuid = source.family_uuid or source.uuid
    copies = []
    for name in names:
        copy = experiments.add_experiment(
            session, name, source.zone, now, source.description, is_demo=source.is_demo, account=account,
            state=ExperimentState.draft, pauses_at_model_change=source.pauses_at_model_change,
        )  # fmt: skip
        copy.policy_id, copy.prompt_version_id = source.policy_id, source.prompt_version_id
        copy.family_uuid = source.family_uuid
        session.flush()
        if with_twins:
            _copy_twins(session, source, copy, now, account)
        if with_schedules:
            _copy_schedules(session, source, copy, now, account, with_twins)
        copies.append(copy)
    after = {"copies": [copy.identifier for copy in copies]}
    audit.record(session, "clone", source, now, account, after=after)
    return copies


def siblings_of(session: Session, experiment: Experiment) -> list[Sibling]:
    """The experiment first, then the others of its family, archived ones left out; three queries."""
    family = [experiment]
    if experiment.family_uuid is not None:
        query = select(Experiment).where(
            Experiment.family_uuid == experiment.family_uuid,
            Experiment.id != experiment.id,
            Experiment.state != ExperimentState.archived,
        )
        family += session.scalars(query.order_by(Experiment.name, Experiment.id))
    keys = [each.id for each in family]
    twins_of, posts_of = (_counts(session, kind, keys) for kind in (DigitalTwin, Post))
    schedules_of = _counts(session, Schedule, keys, Schedule.is_archived.is_(False))
    return [
        Sibling(
            each, twins_of.get(each.id, 0), schedules_of.get(each.id, 0), posts_of.get(each.id, 0),
            each.policy_id == experiment.policy_id, each.prompt_version_id == experiment.prompt_version_id,
        )
        for each in family
    ]  # fmt: skip


def copy_part(
    session: Session,
    source: Experiment,
    targets: list[Experiment],
    part: ProtocolPart,
    now: datetime,
    reason: str = "",
    account: Account | None = None,
) -> list[ProtocolChange]:
    """Gives the targets the source's policy (its limits too) or prompt; the changes made. The caller commits.

    Raises BadInput for a target of another family or one that is over, and where a reason is needed.
    """
    if not targets:
        raise BadInput("Choose at least one experiment to copy to.")
    made = []
    for target in sorted(targets, key=lambda each: each.id):
        if target.family_uuid is None or target.family_uuid != source.family_uuid:
            raise BadInput(f"{target} is no copy of {source}.")
        if target.state in OVER_STATES:
            raise BadInput(f"{target} is {target.state}: what it was run by stays as it is.")
        if part == ProtocolPart.policy:
            save, content = protocol.save_policy, limits.policy_of(source)
        else:
            save, content = protocol.save_prompt, PromptTemplates.from_dict(source.prompt_version.body)
        made.append(save(session, target, target.edit_version, content, now, reason, account))
    return [change for change in made if change is not None]


def _hold(session: Session, source: Experiment) -> None:
    """Locks the source, so that nobody sets up or deletes some of its twins while they are copied."""
    hold_experiment(session, source.id)
    query = select(Experiment.id).where(Experiment.id == source.id, Experiment.delete_asked_at.is_(None))
    if session.scalar(query) is None:
        raise BadInput(f"{source} is being deleted, and cannot be copied any more.")


def _check_room(session: Session, source: Experiment, copies: int) -> None:
    count = session.scalar(select(func.count(DigitalTwin.id)).where(DigitalTwin.experiment_id == source.id))
    if copies * count > MOST_TWINS:
        raise BadInput(
            f"{copies} copies of {count:,} twins are {copies * count:,}; at most {MOST_TWINS:,} are made at "
            "once. Make fewer copies, or copy without twins.",
            "names",
        )


def _copy_twins(
    session: Session, source: Experiment, copy: Experiment, now: datetime, account: Account | None
) -> None:
    found = twin_rows.read_twins(session, DigitalTwin.experiment_id == source.id)
    new = [
        twin_rows.as_new(twin, twin.username, is_active=twin.is_active and not twin.is_banned)
        for twin in found
    ]
    twin_rows.add_twins(session, copy, new, now, account)


def _copy_schedules(
    session: Session,
    source: Experiment,
    copy: Experiment,
    now: datetime,
    account: Account | None,
    with_twins: bool,
) -> None:
    query = select(Schedule).where(Schedule.experiment_id == source.id, Schedule.is_archived.is_(False))
    for schedule in session.scalars(query.order_by(Schedule.id)):
        try:
            wish = wish_of(schedule, experiment=copy, is_enabled=False)
            wish = replace(wish, target=_target_of_copy(session, wish, copy, with_twins))
            schedules.add_schedule(session, wish, now, account, f"Copied from {source}.")
        except BadInput as error:
            raise BadInput(
                f"Schedule “{schedule.name}” cannot be copied: {error} Or copy without schedules."
            ) from None


def _target_of_copy(session: Session, wish: Wish, copy: Experiment, with_twins: bool) -> Target:
    """The same tags; of chosen twins those of the copy with the same usernames. Raises BadInput."""
    if not wish.target.twins:
        return wish.target
    if not with_twins:
        raise BadInput("it asks chosen twins, and they are not copied. Copy the twins too.")
    names = schedule_targets.names_of(session, [wish.target])
    if len(names) < len(wish.target.twins):
        raise BadInput("some of its chosen twins cannot be found.")
    return schedule_targets.target_of(session, copy, usernames=names.values())


def _counts(session: Session, kind: type, keys: list[int], *conditions) -> dict[int, int]:
    query = (
        select(kind.experiment_id, func.count(kind.id))
        .where(kind.experiment_id.in_(keys), *conditions)
        .group_by(kind.experiment_id)
    )
    return dict(session.execute(query).all())

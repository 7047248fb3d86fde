"""Changing what a study is run by: its posting policy, its prompt; and writing down every such change.

While an experiment runs, or is paused on its way, a change needs a reason. Each function leaves the commit
to the caller and raises BadInput at the field that is to blame.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from ..domain.diffs import changed_leaves
from ..domain.disclosure import RULE_LABELS, DisclosureRule
from ..domain.policy import PostingPolicy
from ..domain.prompt import PromptError, PromptTemplates
from ..domain.protocol import MOST_REASON, ProtocolPart
from ..domain.reasons import ExperimentState
from ..errors import BadInput
from ..models import Account, Experiment, ProtocolChange
from . import audit
from .editing import begin
from .experiments import stored_policy, stored_prompt
from .fields import clean_line, parameters_words

GUARDED = (ExperimentState.running, ExperimentState.paused)
NEEDS_REASON = (
    "This experiment has begun, so this is a change of its protocol. Say in a few words why: it is listed, "
    "and marked in every chart."
)
MOST_LISTED = 200


def needs_reason(experiment: Experiment) -> bool:
    """Whether a change of this experiment is a change of a study under way."""
    return experiment.state in GUARDED


def record(
    session: Session,
    experiment: Experiment,
    part: ProtocolPart,
    summary: str,
    now: datetime,
    *,
    reason: str = "",
    before: dict[str, Any],
    after: dict[str, Any],
    account: Account | None = None,
) -> ProtocolChange:
    """Writes down one change. Raises BadInput at `reason` when one is needed and there is none."""
    reason = clean_line(reason, "reason", MOST_REASON, required=False)
    if needs_reason(experiment) and not reason:
        raise BadInput(NEEDS_REASON, "reason")
    change = ProtocolChange(
        experiment_id=experiment.id,
        part=part,
        state=experiment.state,
        made_at=now,
        account_id=account.id if account else None,
        made_by=account.email if account else audit.COMMAND_LINE,
        summary=summary[:500],
        reason=reason,
        before=before,
        after=after,
    )
    session.add(change)
    return change


def record_values(
    session: Session,
    experiments: Iterable[Experiment],
    part: ProtocolPart,
    what: str,
    before: dict[str, Any],
    after: dict[str, Any],
    now: datetime,
    *,
    reason: str = "",
    account: Account | None = None,
) -> list[ProtocolChange]:
    """Writes down, for each of these experiments, that `what` ("Schedule “Morning”") has other values now.

    Nothing when none differs. `before` {} is something new. Raises BadInput at `reason` as `record` does.
    """
    changed = changed_leaves(before, after)
    paths = (path.split(".")[0].removeprefix("llm_") for path, _, _ in changed)
    names = list(dict.fromkeys(path.replace("_", " ") for path in paths))
    summary = f"{what}: {', '.join(names)}" if before else f"{what}: added"
    if not changed:
        return []
    kept = {path.split(".")[0] for path, _, _ in changed}
    return [
        record(
            session, experiment, part, summary, now, reason=reason, account=account,
            before={name: value for name, value in before.items() if name in kept},
            after={name: value for name, value in after.items() if name in kept},
        )
        for experiment in experiments
    ]  # fmt: skip


def record_twins(
    session: Session,
    experiment: Experiment,
    part: ProtocolPart,
    edits: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    now: datetime,
    *,
    reason: str = "",
    account: Account | None = None,
) -> ProtocolChange | None:
    """Writes down that many twins have other values now, as one change that counts them by value.

    `edits`: what changed of each, before and after. Raises BadInput at `reason` as `record` does.
    """
    if not edits:
        return None
    before, after = ({}, {})
    for old, new in edits:
        for counts, values in ((before, old), (after, new)):
            for name, value in values.items():
                of_value = counts.setdefault(name, {})
                words = _value_words(value)
                of_value[words] = of_value.get(words, 0) + 1
    names = ", ".join(name.removeprefix("llm_").replace("_", " ") for name in after)
    noun = "twin" if len(edits) == 1 else "twins"
    return record(
        session, experiment, part, f"{len(edits):,} {noun} at once: {names}", now,
        reason=reason, before=before, after=after, account=account,
    )  # fmt: skip


def _value_words(value: Any) -> str:
    if isinstance(value, dict):
        return parameters_words(value) or "none"
    return str(value) if value else "none"


def save_policy(
    session: Session,
    experiment: Experiment,
    seen: int | None,
    policy: PostingPolicy,
    now: datetime,
    reason: str = "",
    account: Account | None = None,
) -> ProtocolChange | None:
    """Other numbers for the posting rule, from the next decision on; None if they are the present ones.

    Its label says whether they are still the document's.
    """
    begin(session, experiment, seen)
    policy = replace(policy, label=_label(policy, experiment.policy.label))
    before, after = dict(experiment.policy.body), policy.to_dict()
    changed = [leaf for leaf in changed_leaves(before, after) if leaf[0] != "label"]
    if not changed:
        experiment.edit_version -= 1
        return None
    change = record(
        session, experiment, ProtocolPart.policy, policy_summary(changed), now,
        reason=reason, before=before, after=after, account=account,
    )  # fmt: skip
    experiment.policy = stored_policy(session, policy, now)
    _audit(session, experiment, change, now, account)
    return change


def save_prompt(
    session: Session,
    experiment: Experiment,
    seen: int | None,
    templates: PromptTemplates,
    now: datetime,
    reason: str = "",
    account: Account | None = None,
) -> ProtocolChange | None:
    """Other words around persona and feed, from the next attempt on; None if they are the present ones."""
    begin(session, experiment, seen)
    before, after = dict(experiment.prompt_version.body), templates.to_dict()
    changed = changed_leaves(before, after)
    if not changed:
        experiment.edit_version -= 1
        return None
    change = record(
        session, experiment, ProtocolPart.prompt, prompt_summary(changed, templates), now,
        reason=reason, before=before, after=after, account=account,
    )  # fmt: skip
    experiment.prompt_version = stored_prompt(session, templates, now)
    _audit(session, experiment, change, now, account)
    return change


def make_templates(words: dict[str, str], rule: str, sentence: str) -> PromptTemplates:
    """Templates from what somebody typed. Raises BadInput at the field that cannot be used."""
    try:
        chosen = DisclosureRule(rule)
    except ValueError:
        raise BadInput("Choose one of the rules.", "disclosure_rule") from None
    if chosen == DisclosureRule.sentence and not sentence:
        raise BadInput("Write the sentence the twins are to say.", "disclosure_sentence")
    try:
        return PromptTemplates(**words).disclosing(chosen, sentence)
    except PromptError as error:
        raise BadInput(error.words, error.field or None) from None


def changes_of(session: Session, experiment: Experiment, limit: int = MOST_LISTED) -> list[ProtocolChange]:
    """The latest changes, newest first."""
    query = select(ProtocolChange).where(ProtocolChange.experiment_id == experiment.id)
    return list(
        session.scalars(query.order_by(ProtocolChange.made_at.desc(), ProtocolChange.id.desc()).limit(limit))
    )


def changes_between(
    session: Session, experiment: Experiment | None, start: datetime, end: datetime
) -> list[ProtocolChange]:
    """Changes of a study under way, or of all of them, in a period, oldest first: what charts mark.

    MOST_LISTED at most, with their experiments.
    """
    query = (
        select(ProtocolChange)
        .options(joinedload(ProtocolChange.experiment))
        .where(
            *(() if experiment is None else (ProtocolChange.experiment_id == experiment.id,)),
            ProtocolChange.made_at >= start,
            ProtocolChange.made_at < end,
            ProtocolChange.state.in_(GUARDED),
        )
        .order_by(ProtocolChange.made_at, ProtocolChange.id)
        .limit(MOST_LISTED)
    )
    return list(session.scalars(query))


def policy_summary(changed: list[tuple[str, Any, Any]]) -> str:
    """ "skip steps, context size": which numbers changed."""
    names = {
        "recency_steps": "skip by recency", "share_cap": "share cap", "share_window": "share window",
        "context_size": "context size", "bands": "lengths", "max_model_calls": "model calls",
        "limits": "limits",
    }  # fmt: skip
    parts = list(dict.fromkeys(names.get(path.split(".")[0], path) for path, _, _ in changed))
    return f"Posting policy: {', '.join(parts)}"


def prompt_summary(changed: list[tuple[str, Any, Any]], templates: PromptTemplates) -> str:
    """ "Prompt: system message": which words changed, and the rule of disclosure if that did."""
    names = {
        "system": "system message", "user": "instructions", "rewrite": "request to rewrite",
        "feed_line": "posts of the feed", "own_feed_line": "its own posts", "empty_feed": "an empty feed",
    }  # fmt: skip
    parts = [names[path] for path, _, _ in changed if path in names]
    if any(path.startswith("disclosure") for path, _, _ in changed):
        parts.append(f"disclosure ({RULE_LABELS[DisclosureRule(templates.disclosure_rule)]})")
    return f"Prompt: {', '.join(parts)}"


def _label(policy: PostingPolicy, present: str) -> str:
    """The document's numbers carry their own label; others say that they are this experiment's."""
    original = PostingPolicy()
    if replace(policy, label=original.label, limits=original.limits) == original:
        return original.label
    return present if present != original.label else "own numbers"


def _audit(
    session: Session, experiment: Experiment, change: ProtocolChange, now: datetime, account: Account | None
) -> None:
    leaves = changed_leaves(change.before, change.after)
    audit.record(
        session, "change", experiment, now, account,
        {path: before for path, before, _ in leaves},
        {path: after for path, _, after in leaves} | ({"reason": change.reason} if change.reason else {}),
    )  # fmt: skip

"""Protocol changes: what a study is run by is changed with a reason, and nothing of it is lost."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pdsapp.domain.disclosure import DisclosureRule
from pdsapp.domain.limits import Limits
from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.prompt import PromptTemplates
from pdsapp.domain.protocol import ProtocolPart
from pdsapp.domain.reasons import ExperimentState
from pdsapp.errors import BadInput
from pdsapp.models import Attempt, AuditEvent, Experiment, PostingPolicyVersion, ProtocolChange
from pdsapp.services import protocol
from pdsapp.services.policy_texts import policy_texts, read_policy
from tests import builders
from tests.conftest import NOON

pytestmark = pytest.mark.database
OTHER = replace(PostingPolicy(), share_cap=0.5)


@pytest.fixture
def study(app):
    return builders.make_experiment()


def load(session, study):
    return session.get_one(Experiment, study.id)


def save_policy(write, study, policy, reason="as agreed", seen=1):
    with write() as session:
        return protocol.save_policy(session, load(session, study), seen, policy, NOON, reason)


def test_a_change_of_the_policy_keeps_what_was_before_and_why(session, study, write):
    save_policy(write, study, OTHER, "too chatty")
    change = session.scalars(select(ProtocolChange)).one()
    assert (change.part, change.state, change.made_at) == (ProtocolPart.policy, ExperimentState.running, NOON)
    assert (change.summary, change.reason) == ("Posting policy: share cap", "too chatty")
    assert (change.before["share_cap"], change.after["share_cap"]) == (0.7, 0.5)
    event = session.scalars(select(AuditEvent).where(AuditEvent.object_type == "experiment")).all()[-1]
    assert event.before == {"label": "natural posting", "share_cap": 0.7}
    assert event.after == {"label": "own numbers", "share_cap": 0.5, "reason": "too chatty"}
    assert load(session, study).edit_version == 2


def test_attempts_keep_the_policy_they_were_decided_by(session, settings, study, write, model_server):
    twin = builders.make_twin(study, token=builders.make_token(settings, model_server.base_url))
    first = builders.ask_and_run(session, settings, twin)
    save_policy(write, study, OTHER)
    second = builders.ask_and_run(session, settings, twin)
    by = [session.get_one(Attempt, each.id).policy.body["share_cap"] for each in (first, second)]
    assert by == [0.7, 0.5]


@pytest.mark.parametrize("reason", ["", "  \n "])
@pytest.mark.parametrize("state", [ExperimentState.running, ExperimentState.paused])
def test_a_study_under_way_is_not_changed_without_a_reason(session, study, write, state, reason):
    with write() as writing:
        load(writing, study).state = state
    with pytest.raises(BadInput, match="Say in a few words why") as refused:
        save_policy(write, study, OTHER, reason)
    assert refused.value.field == "reason"
    assert session.scalar(select(func.count(ProtocolChange.id))) == 0
    assert load(session, study).policy.body["share_cap"] == 0.7


def test_a_draft_is_changed_without_one_and_the_change_is_no_mark_in_charts(session, study, write):
    with write() as writing:
        load(writing, study).state = ExperimentState.draft
    save_policy(write, study, OTHER, "")
    assert [c.state for c in protocol.changes_of(session, load(session, study))] == [ExperimentState.draft]
    day = timedelta(days=1)
    assert protocol.changes_between(session, study, NOON - day, NOON + day) == []


def test_saving_the_present_numbers_is_no_change(session, study, write):
    assert save_policy(write, study, PostingPolicy(), "") is None
    assert session.scalar(select(func.count(ProtocolChange.id))) == 0
    assert load(session, study).edit_version == 1


def test_going_back_gives_the_version_there_was(session, study, write):
    first = load(session, study).policy_id
    session.rollback()
    save_policy(write, study, OTHER)
    save_policy(write, study, PostingPolicy(), seen=2)
    assert load(session, study).policy_id == first
    assert session.scalar(select(func.count(PostingPolicyVersion.id))) == 2
    assert session.scalar(select(func.count(ProtocolChange.id))) == 2


def test_only_limits_leave_the_label_as_it_is(session, study, write):
    save_policy(write, study, replace(PostingPolicy(), limits=Limits(posts_per_day=3)))
    assert load(session, study).policy.label == "natural posting"


def test_who_saw_an_older_version_is_refused_and_nothing_is_lost(session, study, write):
    save_policy(write, study, OTHER)
    with pytest.raises(BadInput, match="Somebody else has saved"):
        save_policy(write, study, replace(PostingPolicy(), share_cap=0.1), seen=1)
    assert load(session, study).policy.body["share_cap"] == 0.5


def test_the_prompt_changes_with_its_rule_of_disclosure(session, study, write):
    templates = PromptTemplates(system="Be brief.").disclosing(DisclosureRule.sentence, "I am a twin.")
    with write() as writing:
        protocol.save_prompt(writing, load(writing, study), 1, templates, NOON, "ethics board")
    change = session.scalars(select(ProtocolChange)).one()
    assert change.summary == "Prompt: system message, disclosure (discloses with a sentence)"
    assert PromptTemplates.from_dict(load(session, study).prompt_version.body) == templates


def test_charts_get_the_changes_of_their_period_oldest_first(session, study, write):
    for number in range(3):
        with write() as writing:
            at = NOON + timedelta(hours=number)
            policy = replace(PostingPolicy(), share_cap=0.1 * (number + 1))
            protocol.save_policy(writing, load(writing, study), number + 1, policy, at, "step")
    found = protocol.changes_between(session, study, NOON, NOON + timedelta(hours=2))
    assert [change.after["share_cap"] for change in found] == [0.1, 0.2]
    latest = protocol.changes_of(session, load(session, study), limit=2)
    assert [change.made_at - NOON for change in latest] == [timedelta(hours=2), timedelta(hours=1)]


@pytest.mark.parametrize(
    ("words", "rule", "sentence", "field"),
    [
        ({"user": "No persona here: {feed}"}, "never_human", "", "user"),
        ({"system": "{persona}"}, "never_human", "", "system"),
        ({}, "sentence", "", "disclosure_sentence"),
        ({}, "robots", "", "disclosure_rule"),
    ],
)
def test_words_that_make_no_prompt_are_refused_at_their_field(words, rule, sentence, field):
    with pytest.raises(BadInput) as refused:
        protocol.make_templates(words, rule, sentence)
    assert refused.value.field == field


def test_the_stored_body_reads_back_as_what_was_typed_on_every_database(session, study, write):
    texts = policy_texts(PostingPolicy()) | {
        "skip_1": "33.3",
        "share_cap": "12.5",
        "min_gap_seconds": "15 min",
    }
    policy = read_policy(texts, PostingPolicy())
    save_policy(write, study, policy)
    stored = PostingPolicy.from_dict(load(session, study).policy.body)
    assert (policy_texts(stored) | {"label": ""}) == texts | {"label": ""}

"""The page of a prompt: the words, the rule of disclosure, and what a twin would be sent."""

import re

from sqlalchemy import select

from pdsapp.domain.prompt import PromptTemplates
from pdsapp.models import Experiment, ModelCall, ProtocolChange
from tests.web.looking import fields_of, words_of

SENTENCE = "I am an automated account of a study."


def page_of(rows):
    return f"/admin/experiment/prompt/?id={rows.experiment.id}"


def filled(browser, rows, **values):
    return fields_of(browser.get(page_of(rows)), "system") | values


def templates(session):
    session.rollback()
    session.expire_all()
    return PromptTemplates.from_dict(session.scalars(select(Experiment)).one().prompt_version.body)


def test_an_untouched_form_is_no_change(researcher, rows, session):
    answer = researcher.post(page_of(rows), data=filled(researcher, rows), follow_redirects=True)
    assert "Nothing was changed: these are the present values." in words_of(answer)
    assert templates(session) == PromptTemplates()


def test_the_messages_of_a_real_twin_are_shown_with_the_words_as_typed(researcher, rows, session):
    form = filled(researcher, rows, system="Speak as @{username}.", preview="1")
    part = researcher.post(page_of(rows), data=form, headers={"X-Part": "effect"})
    words = words_of(part)
    assert "What @maya_reads would be sent now" in words
    assert "Speak as @maya_reads. Never claim to be a human being." in words
    assert "You drove buses for thirty years." in words and "@ada" in words
    assert session.scalars(select(ModelCall)).all() == []
    assert templates(session) == PromptTemplates()


def test_a_sentence_of_disclosure_is_saved_and_ends_every_prompt(researcher, rows, session):
    form = filled(
        researcher, rows, disclosure_rule="sentence", disclosure_sentence=SENTENCE, reason="ethics board"
    )
    answer = researcher.post(page_of(rows), data=form, follow_redirects=True)
    words = words_of(answer)
    assert "Disclosure discloses with a sentence" in words and SENTENCE in words
    assert "Prompt: disclosure (discloses with a sentence)" in words
    assert templates(session).disclosure.endswith(f"say: “{SENTENCE}”")
    shown = researcher.get(page_of(rows))
    assert re.search(r'value="sentence"[^>]*checked|checked[^>]*value="sentence"', shown.text)


def test_unknown_placeholders_are_named_with_those_there_are(researcher, rows, session):
    answer = researcher.post(page_of(rows), data=filled(researcher, rows, user="{persona} {feed} {mood}"))
    assert answer.status_code == 400
    error = re.search(r'id="user-error">(.*?)</div>', answer.text, re.S)[1]
    assert "{mood} is not known here" in error and "{username}" in error
    assert templates(session) == PromptTemplates()


def test_the_original_words_come_back_only_when_saved(researcher, rows, session):
    researcher.post(page_of(rows), data=filled(researcher, rows, system="Be brief.", reason="pilot"))
    answer = researcher.post(page_of(rows), data=filled(researcher, rows, reset="1"))
    assert templates(session).system == "Be brief."
    back = fields_of(answer, "system") | {"reason": "back"}
    researcher.post(page_of(rows), data=back)
    assert templates(session) == PromptTemplates()


def test_what_differs_is_marked_word_by_word_and_hostile_words_stay_words(researcher, rows, session):
    evil = '<script>alert(1)</script> {{7*7}} "><img src=x onerror=alert(1)>'
    form = filled(researcher, rows, system=f"Be brief. {evil}", reason=evil)
    assert researcher.post(page_of(rows), data=form).status_code == 302
    listed = researcher.get(f"/admin/experiment/protocol/?id={rows.experiment.id}")
    assert "<script>alert" not in listed.text and "<img" not in listed.text
    assert "<ins>" in listed.text and "<del>" in listed.text
    assert session.scalars(select(ProtocolChange)).one().reason == evil


def test_a_twin_of_another_experiment_is_never_shown(researcher, rows, app):
    from tests.builders import make_experiment, make_twin

    other = make_twin(make_experiment("Elsewhere"), "stranger")
    form = filled(researcher, rows, twin=str(other.id), preview="1")
    part = researcher.post(page_of(rows), data=form, headers={"X-Part": "effect"})
    assert "stranger" not in part.text

"""The attention list on the dashboard: lines with remedies, and lines somebody calls fine."""

import re
from datetime import timedelta

import pytest

from pdsapp.models import AuditEvent, Experiment, ModelSeen, Post, SettledLine, utc_now
from pdsapp.services import model_pauses, pauses
from tests.builders import make_experiment, make_person, make_post, make_twin
from tests.web.looking import assert_nothing_inline, words_of


@pytest.fixture
def study(app):
    return make_experiment("Campus climate")


@pytest.fixture
def other_model(study, write):
    with write() as session:
        row = ModelSeen(
            experiment_id=study.id, asked_key="a", seen_key="b", endpoint="https://llm.example.org/v1",
            model_asked="gpt", model_returned="<b>new</b>", system_fingerprint="", model_before="old",
            fingerprint_before="", since=utc_now(),
        )  # fmt: skip
        session.add(row)
        session.flush()
        return row.uuid


def test_another_model_is_named_with_what_to_do(researcher, study, other_model):
    answer = researcher.get("/admin/")
    words = words_of(answer)
    assert "The provider answers with another model in “Campus climate”." in words
    assert "Asked for gpt: <b>new</b> instead of old, since" in words
    assert "See the attempts" in words and "Pause the experiment" in words and "It is fine" in words
    assert_nothing_inline(answer)


def test_a_pause_for_another_model_is_told_with_the_way_back(researcher, study, other_model, write):
    at = utc_now()
    with write() as session:
        row = session.get_one(Experiment, study.id)
        pauses.pause_experiment(session, row, at, "another model", actor=model_pauses.MODEL_CHANGE)
        session.query(ModelSeen).one().paused_at = at
    answer = researcher.get("/admin/")
    words = words_of(answer)
    assert "The provider answers with another model in “Campus climate”." in words
    assert (
        "The experiment was paused for that. Look at what it wrote; if it is fine, say so and resume."
        in words
    )
    assert "See the attempts" in words and "Resume the experiment" in words and "It is fine" in words
    assert "Pause the experiment" not in words
    assert f'href="/admin/experiment/details/?id={study.id}">Resume the experiment' in answer.text
    with write() as session:
        pauses.resume_experiment(session, session.get_one(Experiment, study.id), utc_now())
    words = words_of(researcher.get("/admin/"))
    assert "The experiment was paused for that, and has been resumed." in words
    assert "Pause the experiment" in words and "Resume the experiment" not in words


def test_another_model_stays_told_while_a_person_has_paused_the_experiment(
    researcher, study, other_model, write
):
    with write() as session:
        pauses.pause_experiment(session, session.get_one(Experiment, study.id), utc_now(), "lunch")
    words = words_of(researcher.get("/admin/"))
    assert "another model" in words, "or a notice would say that it has recovered"
    assert "paused for that" not in words and "Pause the experiment" not in words


def test_a_viewer_is_not_asked_to_resume(viewer, study, other_model, write):
    at = utc_now()
    with write() as session:
        pauses.pause_experiment(session, session.get_one(Experiment, study.id), at)
        session.query(ModelSeen).one().paused_at = at
    words = words_of(viewer.get("/admin/"))
    assert "was paused for that" in words and "Resume the experiment" not in words


def test_a_line_called_fine_is_gone_and_in_the_audit_trail_once(researcher, other_model, write):
    key = re.search(r'name="key" value="([^"]+)"', researcher.get("/admin/").text)[1]
    for _ in range(2):
        assert researcher.post("/attention/fine", data={"key": key}).status_code == 302
    assert "another model" not in words_of(researcher.get("/admin/"))
    with write() as session:
        assert session.query(SettledLine).count() == 1
        assert session.query(AuditEvent).filter_by(action="call fine").count() == 1


def test_a_viewer_may_not_call_a_line_fine(viewer, other_model, write):
    assert "It is fine" not in viewer.get("/admin/").text
    assert viewer.post("/attention/fine", data={"key": f"other_model:{other_model}"}).status_code == 403
    with write() as session:
        assert session.query(SettledLine).count() == 0


@pytest.mark.parametrize("key", ["", "other_model:", "other_model:x", "no_worker", "a" * 500])
def test_a_key_of_no_such_line_is_refused(researcher, key):
    assert researcher.post("/attention/fine", data={"key": key}).status_code == 404


def test_a_question_leads_to_the_post_in_the_feed_and_does_not_repeat_it(researcher, study, write):
    twin, person = make_twin(study, "ada"), make_person(study, "walt")
    parent = make_post(twin.user_profile, "Trains.", 9)
    at = utc_now() - timedelta(minutes=3)
    with write() as session:
        post = Post(
            experiment_id=study.id, user_profile_id=person.id, parent_id=parent.id,
            text="Are you a bot? I live in Elm Street.", created_at=at, changed_at=at,
        )  # fmt: skip
        session.add(post)
    answer = researcher.get("/admin/")
    assert "@walt asked a twin whether it is a human being." in words_of(answer)
    assert "Elm Street" not in answer.text
    url = re.search(r'href="(/experiments/[^"]+start=[^"]+)"', answer.text)[1]
    assert "Elm Street" in researcher.get(url).text

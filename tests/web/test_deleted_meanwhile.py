"""An experiment is deleted while somebody looks at it: every page and form says that it is gone."""

import pytest
from sqlalchemy import func, select, update

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import Attempt, Experiment, Post, utc_now
from pdsapp.services import deletion
from tests.attempt_rows import add_row
from tests.web.looking import words_of

REQUEST_ID = "web-0123456789abcdef"
GONE = ("There is no", "There is nothing", "may have been removed", "is being deleted")


@pytest.fixture
def attempt(rows, session, schedule):
    """The uuid of a failed attempt of the experiment's twin; there are three attempts, one has a post."""
    add_row(rows.twin, "posted", "drawn", utc_now(), draw=0.9)
    add_row(rows.twin, "skipped", "recency", utc_now(), draw=0.1)
    number = add_row(rows.twin, "failed", "endpoint_down", utc_now(), draw=0.9)
    return session.get_one(Attempt, number)


@pytest.fixture
def addresses(rows, attempt, administrator):
    """Everything somebody may have open, by name, with the cursor of then."""
    experiment = rows.experiment.identifier
    rows_of = administrator.get("/activity").text.partition('data-cursor="')[2].partition('"')[0]
    return {
        "dashboard": f"/admin/?experiment={experiment}",
        "dashboard, as chosen": "/admin/",
        "figure": f"/dashboard/over-time.csv?experiment={experiment}",
        "activity": f"/activity?experiment={experiment}",
        "activity, as chosen": "/activity",
        "stream": f"/activity/rows?scope={experiment}&since={rows_of}",
        "stream of all": f"/activity/rows?since={rows_of}",
        "stream of a twin": f"/activity/rows?scope={experiment}&twin=%40maya_reads&since={rows_of}",
        "now": "/activity/now",
        "attempt": f"/attempts/{attempt.uuid}",
        "attempt's state": f"/attempts/{attempt.uuid}/state?since=old",
        "brief": f"/attempts/{attempt.uuid}/brief",
        "progress": f"/attempts/{attempt.uuid}/progress",
        "attempts": f"/admin/attempt/?experiment={experiment}",
        "attempts, exported": "/admin/attempt/export/csv/",
        "posts": "/admin/post/",
        "post": f"/admin/post/details/?id={rows.post.id}",
        "feed": f"/experiments/{experiment}/feed",
        "feed as CSV": f"/experiments/{experiment}/feed.csv",
        "feed as JSON lines": f"/experiments/{experiment}/feed.jsonl",
        "question": f"/admin/digitaltwin/ask/?id={rows.twin.id}",
        "twin": f"/admin/digitaltwin/details/?id={rows.twin.id}",
        "withdrawal": f"/admin/userprofile/withdraw/?id={rows.person.id}",
        "experiment": f"/admin/experiment/details/?id={rows.experiment.id}",
        "system": "/system",
        "notices": "/admin/notices/",
        "ready": "/healthz",
    }


@pytest.fixture
def forms(rows, attempt):
    """Everything somebody may send from a page that was open before: (address, fields)."""
    feed = f"/experiments/{rows.experiment.identifier}/feed"
    return {
        "write": (f"{feed}/write", {"author": "ada", "text": "Hello.", "request_id": REQUEST_ID}),
        "hide": (f"{feed}/hide", {"post": str(rows.post.uuid), "do": "hide"}),
        "post now": ("/admin/digitaltwin/post-now/", {"id": rows.twin.id, "request_id": REQUEST_ID}),
        "ask now": ("/admin/digitaltwin/ask-now/", {"id": rows.twin.id, "request_id": REQUEST_ID}),
        "try again": ("/admin/attempt/again/", {"id": attempt.id, "request_id": REQUEST_ID}),
        "withdraw": ("/admin/userprofile/withdraw/", {"id": rows.person.id, "username": "ada"}),
        "it is fine": ("/attention/fine", {"key": f"asked_if_human:{rows.post.uuid}"}),
        "pause": (f"/experiments/{rows.experiment.identifier}/pause", {"next": "/admin/"}),
        "switch": ("/switch", {"experiment": rows.experiment.identifier, "next": "/activity"}),
    }


def ask_for_deletion(write, rows):
    with write() as session:
        session.execute(update(Experiment).values(state=ExperimentState.archived))
    with write() as session:
        deletion.ask_for_deletion(
            session, session.get_one(Experiment, rows.experiment.id), "Campus climate", utc_now()
        )


STEPS = ["asked for", "attempts gone", "posts gone", "schedules gone", "people going", "gone"]


def delete_until(step, session, write, rows):
    """Deletes as far as this step says, in chunks as a scheduler does."""
    ask_for_deletion(write, rows)
    chunks = {"asked for": 0, "attempts gone": 1, "posts gone": 2, "schedules gone": 3, "people going": 4}
    for _ in range(chunks.get(step, 100)):
        deletion.delete_some()
    session.rollback()
    left = {
        "attempts": session.scalar(select(func.count(Attempt.id))),
        "posts": session.scalar(select(func.count(Post.id))),
        "experiments": session.scalar(select(func.count(Experiment.id))),
    }
    wanted = {
        "asked for": {"attempts": 3, "posts": 2, "experiments": 1},
        "attempts gone": {"attempts": 0, "posts": 2, "experiments": 1},
        "gone": {"attempts": 0, "posts": 0, "experiments": 0},
    }.get(step, {"attempts": 0, "posts": 0, "experiments": 1})
    assert left == wanted


@pytest.fixture
def step(request, addresses, forms, session, write, rows, app, administrator, monkeypatch):
    app.config.update(TESTING=False, PROPAGATE_EXCEPTIONS=False)
    app.extensions["queue_sign"].note(is_away=True)
    monkeypatch.setattr(deletion, "CHUNK", 3)
    for address in addresses.values():
        assert administrator.get(address).status_code < 300, address
    delete_until(request.param, session, write, rows)
    return request.param


# What shows something of all experiments, or of none.
STAY = {
    "dashboard", "dashboard, as chosen", "activity, as chosen", "stream of all", "now", "attempts",
    "attempts, exported", "posts", "system", "notices", "ready",
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS, indirect=True)
def test_what_is_open_says_that_it_is_gone_or_shows_the_rest(administrator, addresses, step):
    wrong = {}
    for name, address in addresses.items():
        answer = administrator.get(address)
        is_fine = answer.status_code in ((200, 204) if name in STAY else (404,))
        if name in STAY and any(words in answer.text for words in ("maya_reads", "Third bus")):
            is_fine = False
        if name not in STAY and not any(words in answer.text for words in GONE):
            is_fine = False
        if not is_fine:
            wrong[name] = (answer.status_code, words_of(answer)[-200:])
    assert wrong == {}


@pytest.mark.parametrize("step", STEPS, indirect=True)
def test_what_is_sent_is_refused_with_a_sentence_and_changes_nothing(administrator, forms, session, step):
    def left():
        session.rollback()
        return [session.scalar(select(func.count(kind.id))) for kind in (Attempt, Post, Experiment)]

    before, wrong = left(), {}
    for name, (address, data) in forms.items():
        answer = administrator.post(address, data=data)
        is_fine = answer.status_code in (400, 404, 409) and any(words in answer.text for words in GONE)
        if name == "switch":
            is_fine = answer.status_code == 302
        if not is_fine:
            wrong[name] = (answer.status_code, answer.headers.get("Location"), words_of(answer)[-200:])
    assert wrong == {}
    assert left() == before

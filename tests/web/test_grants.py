"""What somebody sees who is granted one experiment of two: every rule of the application, with every id."""

import re
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from pdsapp import grants
from pdsapp.domain.reasons import CallState, SlotKind, Trigger
from pdsapp.models import (
    Account,
    Attempt,
    Base,
    DigitalTwin,
    Experiment,
    Membership,
    ModelCall,
    Slot,
    TwinTag,
    UserProfile,
    utc_now,
)
from pdsapp.services import (
    accounts,
    experiments,
    granting,
    personas,
    posts,
    protocol,
    schedules,
    tokens,
    twins,
)
from pdsapp.services.limits import policy_of
from tests.attempt_rows import put_row
from tests.conftest import NOON
from tests.web.looking import fields_of, words_of
from tests.web.test_strangers import PUBLIC

SECRET = "zqforeign"
FOREIGN_IDS = (2, 3, 4)  # of the second experiment's rows, in one table or another
# What the screens of a researcher lead to and send; every value of a foreign row is tried in each of them.
ID_NAMES = ("id", "rowid", "experiment", "target", "moves", "twin", "schedule", "persona_version", "granted")


def _fill(session, name, mark, token, version):
    """An experiment with a row of everything that belongs to one."""
    now = utc_now()
    experiment = experiments.add_experiment(session, f"{name} {mark}", "Europe/Rome", NOON, f"About {mark}.")
    session.flush()
    twin = twins.add_twin(session, experiment, f"{mark}_twin", version, NOON, f"Twin {mark}", token=token)
    session.add(TwinTag(digital_twin_id=twin.id, tag=f"{mark[:4]}-tag"))
    person = twins.add_profile(session, experiment, f"{mark}_ada", NOON, f"Ada {mark}", f"Bio {mark}")
    posts.add_post(session, person, f"Post of {mark}.", now)
    session.flush()
    wish = schedules.Wish(f"Daily {mark}", experiment, cron="0 9 * * *", is_enabled=True)
    schedule = schedules.add_schedule(session, wish, now)
    session.flush()
    revision = session.scalar(
        sa.text("SELECT id FROM schedule_revision WHERE schedule_id = :id"), {"id": schedule.id}
    )
    slot = Slot(
        schedule_id=schedule.id, revision_id=revision, experiment_id=experiment.id, slot_at=now,
        kind=SlotKind.fired, wanted_count=1, expanded_count=1,
    )  # fmt: skip
    session.add(slot)
    session.flush()
    attempt = put_row(
        session, twin, "posted", at=now, text=f"Attempt of {mark}.", draw=0.99, slot_id=slot.id,
        schedule_id=schedule.id, trigger=Trigger.schedule,
    )  # fmt: skip
    session.add(
        ModelCall(
            attempt_id=attempt.id, experiment_id=experiment.id, api_token_id=token.id,
            endpoint="https://llm.example.org/v1", model_asked=f"model-{mark}", state=CallState.answered,
            reply=f"Reply {mark}",
        )
    )  # fmt: skip
    policy = policy_of(experiment)
    protocol.save_policy(
        session, experiment, experiment.edit_version, type(policy)(context_size=7), now, f"Why {mark}"
    )
    session.flush()
    return SimpleNamespace(
        experiment=experiment, twin=twin, person=person, schedule=schedule, attempt=attempt, slot=slot
    )


@pytest.fixture
def two(app, settings, write):
    """Two experiments that share a token and a persona: `own`, to be granted, and `foreign`."""
    from pdsapp.llm.secrets import SecretBox

    with write() as session:
        version = personas.add_persona(session, "Bus driver", "You drove buses.", NOON)
        box = SecretBox(settings.require("fernet_keys"))
        token = tokens.add_token(
            session, box, "Lab", "https://llm.example.org/v1", "sk-very-secret-1234", "small", NOON
        )
        session.flush()
        own = _fill(session, "Own", "mine", token, version)
        foreign = _fill(session, "Foreign", SECRET, token, version)
        return SimpleNamespace(own=own, foreign=foreign, token=token, version=version)


@pytest.fixture
def granted(two, sign_in, write):
    """`granted("viewer")`: a browser of somebody who is granted the one experiment."""

    def signed_in(role):
        browser = sign_in(role, sees_all=False)
        with write() as session:
            account = accounts.find_account(session, f"{role}@example.org")
            session.add(Membership(account_id=account.id, experiment_id=two.own.experiment.id))
        return browser

    return signed_in


def _paths(app, two, method):
    """Every rule for a method, with the values of foreign rows put in."""
    foreign = two.foreign
    values = {
        "text": foreign.experiment.identifier, "uuid": str(foreign.attempt.uuid), "export_type": "csv",
        "token": "x" * 43, "filename": "css/base.css",
    }  # fmt: skip
    for rule in app.url_map.iter_rules():
        if method in rule.methods and rule.rule not in PUBLIC:
            yield re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", lambda found: values.get(found[1], "1"), rule.rule)


@pytest.mark.parametrize("role", ["viewer", "researcher"])
def test_nothing_of_another_experiment_is_read_on_any_rule_with_any_id(app, two, granted, role):
    browser, seen = granted(role), 0
    foreign = two.foreign
    queries = [f"id={number}" for number in FOREIGN_IDS]
    wide = [
        "", f"experiment={foreign.experiment.identifier}", f"twin={foreign.twin.uuid}",
        f"schedule={foreign.schedule.uuid}", f"search={SECRET[:6]}", f"tag={SECRET[:4]}-tag",
    ]  # fmt: skip
    for path in _paths(app, two, "GET"):
        for query in (*queries, *wide):
            answer = browser.get(f"{path}?{query}", headers={"Accept": "text/html"})
            assert answer.status_code < 500, (path, query, answer.status_code)
            assert SECRET not in answer.text.lower(), (path, query)
            seen += 1
    assert seen > 500


def test_what_is_granted_is_seen_on_every_list(two, granted):
    browser = granted("viewer")
    for screen in ("experiment", "digitaltwin", "userprofile", "schedule", "post", "attempt"):
        for page in ("", "export/csv/"):
            text = browser.get(f"/admin/{screen}/{page}").text
            assert "mine" in text and SECRET not in text, (screen, page)
    assert "mine" in browser.get("/activity").text
    assert "mine" in browser.get(f"/experiments/{two.own.experiment.identifier}/feed").text
    assert "Attempt of mine" in browser.get(f"/attempts/{two.own.attempt.uuid}").text


def test_counts_are_those_of_what_is_granted(two, granted):
    browser = granted("viewer")
    browser.post("/switch", data={"experiment": ""})
    page = words_of(browser.get("/admin/"))
    for words in (
        "Experiments 1 Twins 1 Personas 1 Schedules 1 API tokens 1",
        "Active twins 1 all there are",
    ):
        assert words in page
    assert "1 asked = 1 posted" in page and "It adds up" in page
    assert words_of(browser.get("/admin/apitoken/")).count("1 failed") == 0
    details = words_of(browser.get(f"/admin/apitoken/details/?id={two.token.id}"))
    assert "@mine_twin" in details and "Calls, 24 h 1 " in details


def _contents(session, experiment):
    """All rows of an experiment."""
    session.rollback()
    found = {}
    for mapper in Base.registry.mappers:
        if "experiment_id" in mapper.columns:
            table, column = mapper.local_table, mapper.columns["experiment_id"]
            found[table.name] = session.execute(
                sa.select(table).where(column == experiment.id).order_by(*table.primary_key)
            ).all()
    table = Experiment.__table__
    found["experiment"] = session.execute(sa.select(table).where(table.c.id == experiment.id)).all()
    return found


def test_nothing_of_another_experiment_is_changed_by_any_rule(app, two, granted, session):
    browser = granted("researcher")
    before = _contents(session, two.foreign.experiment)
    actions = ("activate", "deactivate", "enable", "disable", "pause", "resume", "hide", "unhide", "ban")
    for path in _paths(app, two, "POST"):
        if path.startswith(("/logout", "/theme", "/switch", "/account/")):
            continue
        for number in FOREIGN_IDS:
            for action in actions if path.endswith("/action/") else ("activate",):
                data = dict.fromkeys(ID_NAMES, number) | {"action": action, "part": "policy", "reason": "x"}
                answer = browser.post(f"{path}?id={number}", data=data)
                assert answer.status_code < 500, (path, number, answer.status_code)
                assert SECRET not in answer.text.lower(), (path, number)
    assert _contents(session, two.foreign.experiment) == before


@pytest.mark.parametrize(
    ("page", "marker", "extra"),
    [
        ("/admin/digitaltwin/new/", "username", {"username": "intruder"}),
        ("/admin/userprofile/new/", "username", {"username": "intruder"}),
        ("/admin/schedule/new/", "cron", {"name": "Intruder", "cron": "0 9 * * *", "way": "cron"}),
    ],
)
def test_nothing_is_added_to_another_experiment(two, granted, session, page, marker, extra):
    browser = granted("researcher")
    form = fields_of(browser.get(page), marker) | extra | {"persona_version": two.version.id}
    answer = browser.post(page, data=form | {"experiment": two.foreign.experiment.id})
    assert answer.status_code == 400
    session.rollback()
    assert (
        _contents(session, two.foreign.experiment)["user_profile"]
        and not session.scalars(sa.select(UserProfile).where(UserProfile.username == "intruder")).all()
    )


def test_a_token_that_writes_for_others_is_changed_by_administrators_only(
    two, granted, administrator, session
):
    browser = granted("researcher")
    page = f"/admin/apitoken/edit/?id={two.token.id}"
    form = fields_of(browser.get(page), "base_url") | {"default_model": "large", "reason": "Cheaper"}
    answer = browser.post(page, data=form)
    assert answer.status_code == 400
    assert "also writes for twins of experiments you do not see" in words_of(answer)
    for button in ("pause", "archive", "resume"):
        answer = browser.post(f"/admin/apitoken/{button}/", data={"id": two.token.id}, follow_redirects=True)
        assert SECRET not in answer.text
    session.rollback()
    session.expire_all()
    assert (session.get(type(two.token), two.token.id).default_model, two.token.state) == ("small", "active")
    form = fields_of(administrator.get(page), "base_url") | {"default_model": "large", "reason": "Cheaper"}
    assert administrator.post(page, data=form).status_code == 302


def test_a_persona_and_a_token_that_others_use_are_not_deleted_unseen(two, granted, write, session):
    browser = granted("researcher")
    with write() as writing:  # now only the foreign twin has them
        own = writing.get_one(DigitalTwin, two.own.twin.id)
        other = personas.add_persona(writing, "Baker", "You bake.", NOON)
        own.persona_version, own.api_token = other, None
        writing.execute(
            sa.update(Attempt).where(Attempt.digital_twin_id == own.id).values(persona_version_id=other.id)
        )
    for screen, row in (("persona", two.version.persona), ("apitoken", two.token)):
        answer = browser.post(f"/admin/{screen}/delete/", data={"id": row.id}, follow_redirects=True)
        assert "1 twin uses this" in words_of(answer)


def test_who_adds_or_copies_an_experiment_sees_it(two, granted, session):
    browser = granted("researcher")
    form = fields_of(browser.get("/admin/experiment/new/"), "zone") | {"name": "Fresh", "zone": "UTC"}
    assert browser.post("/admin/experiment/new/", data=form).status_code == 302
    page = f"/admin/experiment/clone/?id={two.own.experiment.id}"
    form = fields_of(browser.get(page), "names") | {"names": "Section 1\nSection 2"}
    assert browser.post(page, data=form).status_code == 302
    listed = words_of(browser.get("/admin/experiment/"))
    assert all(name in listed for name in ("Fresh", "Section 1", "Section 2")) and SECRET not in listed


def test_a_grant_taken_back_holds_from_the_next_request(two, granted, administrator, write):
    browser, own = granted("researcher"), two.own.experiment
    assert browser.get(f"/admin/experiment/details/?id={own.id}").status_code == 200
    page = f"/admin/experiment/grants/?id={own.id}"
    form = fields_of(administrator.get(page), "edit_version")
    assert form["granted"]
    administrator.post(
        page, data={"edit_version": form["edit_version"], "csrf_token": form.get("csrf_token", "")}
    )
    assert browser.get(f"/admin/experiment/details/?id={own.id}").status_code == 404
    for page in ("/admin/", "/admin/experiment/"):
        words = words_of(browser.get(page))
        assert "You are granted no experiment yet." in words and "mine" not in words


def test_the_grants_page_is_closed_to_others(two, granted):
    browser = granted("researcher")
    assert browser.get(f"/admin/experiment/grants/?id={two.own.experiment.id}").status_code == 403
    assert "Who sees it" not in browser.get(f"/admin/experiment/details/?id={two.own.experiment.id}").text


def test_an_account_is_granted_experiments_on_its_own_page(two, administrator, session):
    page = "/admin/account/new/"
    form = fields_of(administrator.get(page), "role")
    form |= {"email": "ta@example.org", "role": "viewer", "granted": [two.own.experiment.id]}
    assert administrator.post(page, data=form).status_code == 302
    session.rollback()
    account = session.scalars(sa.select(Account).where(Account.email == "ta@example.org")).one()
    assert granting.experiments_of(session, account) == [session.get(Experiment, two.own.experiment.id)]
    edit = f"/admin/account/edit/?id={account.id}"
    form = fields_of(administrator.get(edit), "role")
    assert form["granted"] == str(two.own.experiment.id)
    form["granted"] = "999"
    answer = administrator.post(edit, data=form)
    assert answer.status_code == 400 and "not offered here any more" in words_of(answer)


def test_every_table_is_limited_or_belongs_to_no_experiment():
    limited = {option.entity.class_ for option in grants.limits(1)}
    free = {mapper.class_.__name__ for mapper in Base.registry.mappers} - {each.__name__ for each in limited}
    assert free == {
        "Account", "ApiToken", "Downtime", "EndpointBreaker", "Heartbeat", "Installation", "Membership",
        "Notice", "NoticeLine", "NoticeMark", "Persona", "PersonaVersion", "PostingPolicyVersion",
        "PromptVersion", "Role", "RollupMark", "SignInLink",
    }  # fmt: skip

"""The commands: exit codes, JSON lines, nothing half done."""

import json
import re

import pytest
from sqlalchemy import func, select

from pdsapp.database import transaction
from pdsapp.domain.policy import PostingPolicy
from pdsapp.models import (
    Account,
    ApiToken,
    Attempt,
    DigitalTwin,
    Experiment,
    Persona,
    Post,
    SignInLink,
    utc_now,
)
from pdsapp.services import experiments
from pdsapp.services.attempt_rows import FIELDS
from tests import builders
from tests import model_server as fake

pytestmark = pytest.mark.database


@pytest.fixture
def study(app):
    return builders.make_experiment()


@pytest.fixture
def twin(study, settings, model_server):
    return builders.make_twin(study, "maya", builders.make_token(settings, model_server.base_url, "lab"))


def _json(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def _count(session, model):
    session.rollback()
    return session.scalar(select(func.count()).select_from(model))


def test_an_experiment_is_added_listed_paused_and_resumed(runner, session):
    added = runner.invoke(
        args=["experiments", "add", "Campus", "--zone", "Europe/Rome", "--running", "--json"]
    )
    row = json.loads(added.stdout)
    assert re.fullmatch(r"[a-z2-9]{5}", row["identifier"])
    assert [r["name"] for r in _json(runner.invoke(args=["experiments", "list", "--json"]))] == ["Campus"]
    assert runner.invoke(args=["experiments", "pause", row["identifier"], "--reason", "lunch"]).exit_code == 0
    assert session.scalars(select(Experiment)).one().state == "paused"
    assert runner.invoke(args=["experiments", "resume", row["id"]]).exit_code == 0
    session.rollback()
    assert session.scalars(select(Experiment)).one().state == "running"


def test_an_experiment_pauses_at_another_model_if_that_is_asked_for(runner, session, settings, model_server):
    runner.invoke(args=["experiments", "add", "Plain", "--running"])
    runner.invoke(args=["experiments", "add", "Pilot", "--running", "--pause-at-model-change"])
    plain, pilot = session.scalars(select(Experiment).order_by(Experiment.id)).all()
    assert (plain.pauses_at_model_change, pilot.pauses_at_model_change) == (False, True)
    builders.make_twin(pilot, "maya", builders.make_token(settings, model_server.base_url))
    for name in ("gpt-4", "gpt-5"):
        model_server.default = lambda _, name=name: fake.text(model=name)
        posted = runner.invoke(args=["generate-dt-post", "--twin", "maya", "--force", "--json"])
        assert _json(posted)[0]["state"] == "posted"
    listed = {
        row["name"]: row["state"] for row in _json(runner.invoke(args=["experiments", "list", "--json"]))
    }
    assert listed == {"Plain": "running", "Pilot": "paused"}


def test_an_experiment_is_a_draft_until_it_is_started_and_over_when_it_is_ended(
    runner, session, settings, model_server
):
    def state():
        session.rollback()
        session.expire_all()
        return session.scalars(select(Experiment)).one().state

    added = runner.invoke(args=["experiments", "add", "Pilot", "--last-day", "2999-12-31", "--json"])
    key = json.loads(added.stdout)["identifier"]
    assert state() == "draft"
    blocked = runner.invoke(args=["experiments", "start", key, "--anyway"])
    assert (blocked.exit_code, "missing Twins: No twin is active" in blocked.stdout) == (1, True)
    pilot = session.scalars(select(Experiment)).one()
    token = builders.make_token(settings, model_server.base_url)
    builders.make_twin(pilot, "maya", token)
    held = runner.invoke(args=["experiments", "start", key])
    assert (held.exit_code, "Not started" in held.stderr, state()) == (1, True, "draft")
    posted = runner.invoke(args=["generate-dt-post", "--twin", "maya", "--force", "--json"])
    assert (_json(posted)[0]["state"], _json(posted)[0]["is_rehearsal"]) == ("posted", True)
    started = runner.invoke(args=["experiments", "start", key, "--anyway"])
    assert (started.exit_code, state()) == (0, "running")
    assert f"{key} is running. 1 post of the rehearsal was archived." in started.stdout
    assert runner.invoke(args=["experiments", "start", key, "--anyway"]).exit_code == 2
    ended = runner.invoke(args=["experiments", "end", key, "--reason", "done"])
    assert (ended.exit_code, state()) == (0, "ended")
    late = runner.invoke(args=["generate-dt-post", "--twin", "maya", "--force"])
    assert (late.exit_code, "it is only read now" in late.stderr) == (2, True)
    assert runner.invoke(args=["experiments", "end", key]).exit_code == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param(["experiments", "add", "x", "--zone", "Mars/Base"], "Mars/Base", id="unknown zone"),
        pytest.param(["experiments", "add", "  "], "must not be empty", id="empty name"),
        pytest.param(["experiments", "pause", "zzzzz"], "There is no experiment", id="unknown identifier"),
        pytest.param(["experiments", "pause", "12345678-1234"], "neither a UUID", id="malformed UUID"),
        pytest.param(
            ["generate-dt-post", "--experiment", "zzzzz"], "There is no experiment", id="post: unknown"
        ),
        pytest.param(["generate-dt-post", "--twin", "nobody"], "There is no twin", id="post: unknown twin"),
        pytest.param(["tokens", "test", "nothing"], "There is no API token", id="unknown token"),
        pytest.param(["attempts", "list", "--since", "yesterday"], "is not a time", id="bad time"),
    ],
)
def test_what_names_nothing_is_exit_2_with_a_sentence_and_changes_nothing(runner, session, args, said):
    result = runner.invoke(args=args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert _count(session, Experiment) == 0


def test_a_forced_post_prints_the_contract_s_object(runner, twin):
    result = runner.invoke(args=["generate-dt-post", "--twin", "maya", "--force", "--json"])
    assert result.exit_code == 0
    (row,) = _json(result)
    assert tuple(row) == FIELDS
    assert (row["state"], row["reason"], row["trigger"], row["twin"]) == ("posted", "forced", "cli", "maya")
    assert row["content"]
    assert row["length"] == len(row["content"])


def test_a_failed_attempt_is_exit_1(runner, twin, model_server):
    model_server.enqueue(fake.error(401, "no"))
    result = runner.invoke(args=["generate-dt-post", "--twin", "@maya", "--force"])
    assert result.exit_code == 1
    assert "failed (wrong_key)" in result.stdout


def test_a_skip_is_exit_3(runner, twin):
    with transaction() as session:
        experiment = session.get_one(Experiment, twin.experiment_id)
        certain = PostingPolicy.from_dict(
            {**PostingPolicy().to_dict(), "recency_steps": [{"under_seconds": 1e9, "probability": 1.0}]}
        )
        experiment.policy_id = experiments.stored_policy(session, certain, utc_now()).id
        session.get_one(DigitalTwin, twin.id).last_post = utc_now()
    assert runner.invoke(args=["generate-dt-post", "--twin", "maya"]).exit_code == 3


def test_nobody_eligible_is_exit_4(runner, study, session):
    result = runner.invoke(args=["generate-dt-post", "--experiment", study.identifier])
    assert result.exit_code == 4
    assert "no active twin" in result.stderr
    assert _count(session, Attempt) == 0


def test_a_paused_experiment_has_nobody_eligible_and_says_why(runner, study, twin):
    runner.invoke(args=["experiments", "pause", study.identifier])
    result = runner.invoke(args=["generate-dt-post", "--experiment", study.identifier])
    assert result.exit_code == 4
    assert "is paused" in result.stderr


def test_count_makes_that_many_attempts(runner, twin):
    result = runner.invoke(args=["generate-dt-post", "--twin", "maya", "--force", "--count", "3", "--json"])
    assert [row["state"] for row in _json(result)] == ["posted"] * 3


def test_a_dry_run_shows_the_prompt_and_stores_nothing(runner, twin, session, model_server):
    result = runner.invoke(args=["generate-dt-post", "--twin", "maya", "--dry-run"])
    assert result.exit_code == 0
    assert "<persona>" in result.stdout
    assert _count(session, Attempt) == 0
    assert model_server.history == []


def test_a_demo_needs_no_running_stack_and_its_text_is_labelled(runner, app):
    study = builders.make_experiment(is_demo=True)
    builders.make_twin(study, "joe")
    result = runner.invoke(args=["generate-dt-post", "--experiment", study.identifier, "--force", "--json"])
    (row,) = _json(result)
    assert (row["state"], row["is_stand_in"], row["model"]) == ("posted", True, "offline-writer")
    shown = runner.invoke(args=["generate-dt-post", "--experiment", study.identifier, "--force"])
    assert "stand-in" in shown.stdout


def test_only_a_demo_may_use_the_offline_writer(runner, study):
    builders.make_twin(study, "joe")
    result = runner.invoke(args=["generate-dt-post", "--experiment", study.identifier, "--force"])
    assert result.exit_code == 1
    assert "no_endpoint" in result.stdout


def test_twins_are_set_up_from_the_personas_that_come_along(runner, study, session):
    result = runner.invoke(
        args=["setup-digital-twins", "--experiment", study.identifier, "--count", "12", "--json"]
    )
    assert result.exit_code == 0
    rows = _json(result)
    assert len({row["username"] for row in rows}) == 12
    assert _count(session, DigitalTwin) == 12
    assert _count(session, Persona) == 10
    assert session.get_one(Experiment, study.id).active_twin_count == 12


def test_twins_are_set_up_from_a_csv_file(runner, study, session, twin, tmp_path):
    path = tmp_path / "twins.csv"
    path.write_text(
        "\ufeffusername,persona,token,tags,parameters\n"
        'ann,"Likes, commas",lab,"a, b",temperature=0.5\n'
        "bea,Quiet,,,\n"
    )
    result = runner.invoke(
        args=["setup-digital-twins", "--experiment", study.identifier, "--personas", str(path)]
    )
    assert result.exit_code == 0, result.stderr
    ann = session.scalars(select(DigitalTwin).join(DigitalTwin.user_profile).filter_by(username="ann")).one()
    assert ann.persona_version.text == "Likes, commas"
    assert ann.api_token.name == "lab"
    assert [tag.tag for tag in ann.tags] == ["a", "b"]
    assert ann.parameters == {"temperature": 0.5}


def test_a_folder_gives_one_persona_a_file(runner, study, session, tmp_path):
    (tmp_path / "shy_poet.txt").write_text("Writes little, reads much.")
    result = runner.invoke(
        args=[
            "setup-digital-twins",
            "--experiment",
            study.identifier,
            "--personas",
            str(tmp_path),
            "--inactive",
        ]
    )
    assert result.exit_code == 0
    twin = session.scalars(select(DigitalTwin)).one()
    assert (twin.user_profile.username, twin.is_active, twin.active_rank) == ("shy_poet", False, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "username,persona\nann,ok\nann,again\n", "stands in twins.csv, line 2 already", id="duplicate"
        ),
        pytest.param("username,persona\nann,\n", "no persona", id="empty persona"),
        pytest.param(f"username,persona\nann,{'x' * 100_000}\n", "at most 20,000", id="100 kB persona"),
        pytest.param("username,persona\nann b,ok\n", "Use 1 to 30 letters", id="bad username"),
        pytest.param("username,persona,token\nann,ok,nope\n", "There is no API token", id="unknown token"),
        pytest.param("username,persona\nann\n", "another number of cells", id="ragged row"),
        pytest.param("username;persona\nann;ok\n", "semicolons", id="semicolons"),
        pytest.param("username,mood\nann,ok\n", "unknown column", id="unknown column"),
        pytest.param("username,username,persona\na,b,c\n", "twice", id="duplicate header"),
        pytest.param("", "twins.csv is empty", id="empty file"),
    ],
)
def test_a_file_with_an_error_sets_up_nobody_and_names_the_place(
    runner, study, session, tmp_path, text, said
):
    path = tmp_path / "twins.csv"
    path.write_text(text)
    result = runner.invoke(
        args=["setup-digital-twins", "--experiment", study.identifier, "--personas", str(path)]
    )
    assert result.exit_code == 2
    assert said in result.stderr
    assert _count(session, DigitalTwin) == 0
    assert _count(session, Persona) == 0


def test_a_dry_run_of_the_set_up_changes_nothing(runner, study, session):
    result = runner.invoke(args=["setup-digital-twins", "--experiment", study.identifier, "--dry-run"])
    assert "Would set up 10 twins" in result.stdout
    assert _count(session, DigitalTwin) == 0


def test_a_token_s_key_is_read_from_stdin_and_never_shown(runner, session, model_server):
    added = runner.invoke(
        args=["tokens", "add", "lab", "--url", model_server.base_url, "--model", "fake-model"],
        input="sk-very-secret-value-9876\n",
    )
    assert added.exit_code == 0, added.stderr
    listed = runner.invoke(args=["tokens", "list", "--json"])
    assert json.loads(listed.stdout)["secret"] == "…9876"
    tested = runner.invoke(args=["tokens", "test", "lab"])
    assert tested.exit_code == 0, tested.stdout
    assert "sk-very" not in added.output + listed.output + tested.output
    assert model_server.calls[0].key == "sk-very-secret-value-9876"
    assert session.scalars(select(ApiToken)).one().last_test_ok is True


def test_testing_a_token_with_a_wrong_key_is_exit_1(runner, settings, model_server):
    builders.make_token(settings, model_server.base_url, "lab")
    model_server.enqueue(fake.error(401, "bad key"))
    result = runner.invoke(args=["tokens", "test", "lab"])
    assert result.exit_code == 1
    assert "✗" in result.stdout


def test_attempts_are_listed_newest_first_and_the_ledger_adds_up(runner, twin):
    runner.invoke(args=["generate-dt-post", "--twin", "maya", "--force", "--count", "2"])
    rows = _json(runner.invoke(args=["attempts", "list", "--json"]))
    assert rows[0]["created_at"] > rows[1]["created_at"]
    found = runner.invoke(args=["ledger", "--json"])
    assert found.exit_code == 0
    assert json.loads(found.stdout)["states"] == {"posted": 2}


def test_a_ledger_that_does_not_add_up_is_exit_1(runner, twin, session):
    runner.invoke(args=["generate-dt-post", "--twin", "maya", "--force"])
    with transaction() as writing:
        writing.scalars(select(Post)).one().attempt_id = None
    result = runner.invoke(args=["ledger"])
    assert result.exit_code == 1
    assert "It does not add up" in result.stdout


def test_create_admin_prints_a_link_that_is_stored_only_as_a_hash(runner, session):
    result = runner.invoke(args=["create-admin", "Ada@Example.org"])
    token = result.stdout.strip().rsplit("/", 1)[1]
    account = session.scalars(select(Account)).one()
    assert (account.email, account.password, [r.name for r in account.roles]) == (
        "ada@example.org",
        None,
        ["administrator"],
    )
    assert token not in session.scalars(select(SignInLink)).one().token_sha256
    runner.invoke(args=["create-admin", "ada@example.org"])
    assert _count(session, Account) == 1


def test_doctor_says_what_is_missing_and_what_to_do(runner, app):
    result = runner.invoke(args=["doctor", "--json"])
    checks = {row["name"]: row for row in _json(result)}
    assert checks["database"]["state"] == "ok"
    assert "make run" in checks["processes"]["detail"]


def test_doctor_counts_twins_that_nothing_can_write(runner, study):
    builders.make_twin(study, "joe")
    result = runner.invoke(args=["doctor"])
    assert "! endpoint: 1 active twin has nothing to be written by" in result.stdout


def test_setting_up_twins_without_an_endpoint_says_so(runner, study):
    result = runner.invoke(args=["setup-digital-twins", "--experiment", study.identifier, "--count", "2"])
    assert result.exit_code == 0
    assert "2 of them have nothing to be written by yet" in result.stderr


def test_an_empty_key_is_not_taken_for_no_key(runner, session):
    result = runner.invoke(args=["tokens", "add", "x", "--url", "https://api.example/v1"], input="\n")
    assert result.exit_code == 2
    assert "--no-key" in result.stderr
    assert _count(session, ApiToken) == 0


def test_a_list_that_stops_at_its_limit_says_so(runner, study):
    twin = builders.make_twin(study)
    for _ in range(3):
        builders.add_attempt(twin)
    for form in ([], ["--json"]):
        cut = runner.invoke(args=["attempts", "list", "--limit", "2", *form])
        assert "These are the newest 2; there are more." in cut.stderr
        assert runner.invoke(args=["attempts", "list", "--limit", "3", *form]).stderr == ""

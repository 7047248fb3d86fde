"""`setup-digital-twins` and dry runs: the same plan as the screen's."""

import json

import pytest
from sqlalchemy import func, select

from pdsapp.domain.reasons import TokenState
from pdsapp.models import ApiToken, DigitalTwin, Schedule, utc_now
from tests import builders

pytestmark = pytest.mark.database


@pytest.fixture
def study(app):
    return builders.make_experiment()


@pytest.fixture
def set_up(runner, study, tmp_path):
    """`set_up(text, "--dry-run")` sets up from a CSV file with this text."""

    def run(text, *options):
        path = tmp_path / "twins.csv"
        path.write_text(text)
        given = ["setup-digital-twins", "--experiment", study.identifier, "--personas", str(path), *options]
        return runner.invoke(args=given)

    return run


def count(session):
    session.rollback()
    return session.scalar(select(func.count(DigitalTwin.id)))


HEADER = "username,persona_name,persona,llm_model\n"


def test_a_dry_run_says_what_each_row_becomes_and_changes_nothing(set_up, session):
    set_up(f"{HEADER}ann,Tea,Likes tea.,\nbob,Tea,,\n")
    result = set_up(f"{HEADER}ann,,,\nbob,,,large\ncy,Tea,,\n", "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["username"], row["action"]) for row in rows] == [
        ("ann", "skip"), ("bob", "update"), ("cy", "create"),
    ]  # fmt: skip
    assert rows[1]["cause"] == "is there; other model"
    assert count(session) == 2


def test_a_study_under_way_is_updated_with_a_reason_alone(set_up, session):
    set_up(f"{HEADER}ann,Tea,Likes tea.,\n")
    refused = set_up(f"{HEADER}ann,,,large\n")
    assert refused.exit_code == 2 and "has begun" in refused.stderr
    done = set_up(f"{HEADER}ann,,,large\n", "--reason", "Withdrawn")
    assert done.exit_code == 0 and "updated 1" in done.stdout
    session.expire_all()
    assert session.scalars(select(DigitalTwin.llm_model)).all() == ["large"]


def test_all_errors_are_listed_by_row_and_column(set_up, session):
    result = set_up(f"{HEADER}a b,Tea,Likes tea.,\nann,Nobody,,\nshort\n")
    assert result.exit_code == 2
    for words in (
        "line 2: username: Use 1 to 30",
        "line 3: persona_name: There is no",
        "line 4: row: This row",
    ):
        assert words in result.stderr
    assert count(session) == 0


def test_a_dry_run_of_a_post_sees_a_token_its_endpoint_paused(runner, study, settings, write):
    token = builders.make_token(settings, "https://llm.example.org/v1", "Lab")
    builders.make_twin(study, "ann", token)
    with write() as session:
        session.get_one(ApiToken, token.id).state = TokenState.paused
    result = runner.invoke(args=["generate-dt-post", "--twin", "ann", "--force", "--dry-run"])
    assert result.exit_code == 3
    assert "skipped all the same: Token “Lab” is paused" in result.stdout


def test_a_dry_run_of_a_post_sees_a_paused_schedule(runner, study, settings, write):
    from tests.queue.world import make_schedule

    token = builders.make_token(settings, "https://llm.example.org/v1")
    builders.make_twin(study, "ann", token)
    schedule = make_schedule(study, name="Evening")
    with write() as session:
        session.get_one(Schedule, schedule.id).paused_at = utc_now()
    asked = ["generate-dt-post", "--twin", "ann", "--force", "--schedule", "Evening"]
    result = runner.invoke(args=[*asked, "--dry-run"])
    assert result.exit_code == 3 and "The schedule is paused" in result.stdout
    assert runner.invoke(args=asked).exit_code == 2

"""The parts of `make bench` about many twins: each runs with a few, and its sums are looked at."""

import http.client
import json
import re
from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy as sa

from bench import __main__ as command
from bench import drain, due, figures, jobs, million, model_server, servers, single_post, stages, throughput
from pdsapp.database import reading, transaction
from pdsapp.domain.policy import PostingPolicy, RecencyStep
from pdsapp.domain.reasons import AttemptState
from pdsapp.models import Attempt, Post, PostRevision
from tests.conftest import TEST_DATABASE_URL

TWINS = 12
only_once = pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="it makes a SQLite of its own")


@pytest.fixture(autouse=True)
def small(monkeypatch, clean_environment):
    monkeypatch.setattr(due, "SAMPLE", 4)


def asked(address, path, body=None):
    """(status, JSON) of one request to the model server."""
    with closing(http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)) as connection:
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize(("least", "most"), [(20, 79), (80, 139), (140, 199), (200, 280)])
def test_the_model_server_answers_within_the_band_it_is_asked_for(least, most):
    prompt = (
        f"<length>between 1 and 2 characters</length><length>between {least} and {most} characters, about 9"
    )
    for number in (1, 123_456):
        assert least <= len(model_server.text_for(prompt.encode(), number)) <= most


@only_once
def test_the_model_server_counts_what_it_answers_and_refuses_what_it_does_not_know():
    prompt = "<length>between 80 and 139 characters, about 100</length>"
    with servers.model_server() as address:
        status, reply = asked(address, "/0/v1/chat/completions", {"messages": [{"content": prompt}]})
        assert (status, reply["choices"][0]["finish_reason"]) == (200, "stop")
        assert 80 <= len(reply["choices"][0]["message"]["content"]) <= 139
        assert asked(address, "/v1/models")[0] == 404
        assert asked(address, "/calls") == (200, {"calls": 1, "most_at_once": 1})


@only_once
def test_attempts_are_measured_beside_the_bare_client_and_the_plain_way(monkeypatch):
    monkeypatch.setattr(throughput, "CASES", ((0, TWINS, 2, 0.5),))
    monkeypatch.setattr(throughput, "PLAIN_CALLS", {0: 1})
    attempts, plain = list(throughput.figures())
    assert attempts.raw["attempts"] == TWINS
    assert [(run["posted"], run["others"], run["repeated"]) for run in attempts.raw["runs"]] == [
        (TWINS, 0, 0)
    ] * 2
    rates = sorted(TWINS / run["seconds"] for run in attempts.raw["runs"])
    assert rates[0] * 0.999 <= attempts.measured <= rates[-1] * 1.001
    assert attempts.ratio > 0 and plain.ratio > 0


@only_once
def test_every_stage_of_an_attempt_is_found_among_the_samples(monkeypatch):
    monkeypatch.setattr(stages, "ATTEMPTS", 100)
    *found, whole = stages.figures()
    named = {re.sub(r"^.*, \d+\. | \(.*", "", figure.what) for figure in found}
    assert named >= {"select", "decide", "call", "save"}  # prompts take too little to be met each time
    assert sum(figure.measured for figure in found) == pytest.approx(whole.measured)
    assert [figure.measured for figure in found] == sorted((f.measured for f in found), reverse=True)
    rest = next((figure.measured for figure in found if stages.REST in figure.what), 0)
    assert rest < 0.5 * whole.measured, "something large belongs to no stage"


@pytest.mark.stack
@only_once
def test_a_single_post_is_measured_idle_and_behind_a_flood(monkeypatch):
    for name, value in {"CLICKS": 2, "FLOOD": 6, "BARE_CALLS": 3, "PAUSE_SECONDS": 0}.items():
        monkeypatch.setattr(single_post, name, value)
    found = list(single_post.figures())
    assert [re.search(r"p\d+ of 2, (idle|behind)", figure.what)[1] for figure in found] == [
        "idle", "idle", "behind", "behind",
    ]  # fmt: skip
    assert all(figure.measured > figure.floor for figure in found)


@pytest.mark.stack
def test_workers_drain_what_is_due_and_the_ledger_adds_up(monkeypatch):
    if TEST_DATABASE_URL:
        monkeypatch.setenv("BENCH_DATABASE_URL", TEST_DATABASE_URL)
    monkeypatch.setattr(drain, "WORKERS_ON_SQLITE", () if TEST_DATABASE_URL else (1,))
    monkeypatch.setattr(drain, "WORKERS_ON_POSTGRESQL", (2,))
    monkeypatch.setattr(drain, "ATTEMPTS", TWINS)
    monkeypatch.setattr(drain, "BARE_CALLS", 4)
    (figure,) = drain.figures(1)
    assert f"{TWINS} attempts by {'2 workers, PostgreSQL' if TEST_DATABASE_URL else '1 worker, SQLite'}" == (
        figure.what
    )
    assert figure.raw["done"] == TWINS
    assert figure.raw["ledger"].startswith(f"{TWINS + due.SAMPLE} asked = {TWINS + due.SAMPLE} posted")


@pytest.mark.stack
@only_once
def test_jobs_are_measured_with_and_without_a_fork(monkeypatch):
    for name, value in {"EMPTY": 2, "ATTEMPTS": TWINS, "DIRECT": 1}.items():
        monkeypatch.setattr(jobs, name, value)
    assert [figure.what for figure in jobs.figures()] == [
        "an empty job, fork", "12 attempts by jobs, fork",
        "an empty job, in-process", "12 attempts by jobs, in-process",
    ]  # fmt: skip


@only_once
def test_a_run_whose_ledger_does_not_add_up_is_an_error():
    with due.town(TWINS) as town:
        due.add(town.experiment, 2)
        assert due.timed_drain(town.settings, 2).posted == 2
        assert due.require_sums().startswith("2 asked = 2 posted")
        with transaction() as session:
            post = session.scalars(sa.select(Post).where(Post.attempt_id.is_not(None)).limit(1)).one()
            session.execute(sa.delete(PostRevision).where(PostRevision.post_id == post.id))
            session.delete(post)
        with pytest.raises(RuntimeError, match="does not add up"):
            due.require_sums()


@only_once
def test_attempts_that_do_not_post_do_not_count():
    with due.town(TWINS) as town:
        due.add(town.experiment, 2)
        with transaction() as session:
            session.execute(sa.text("UPDATE api_token SET state = 'paused'"))
        run = due.timed_drain(town.settings, 2)
        assert (run.posted, run.others, run.words) == (0, 2, ", 2 did not post")
        with reading() as session:
            assert set(session.scalars(sa.select(Attempt.state))) == {AttemptState.failed}


def test_a_row_says_whether_the_ratio_is_as_wanted():
    for measured, verdict in ((80, "✓"), (79, "✗")):
        row = figures.Figure("attempts", measured, "/s", 100, "bare client", at_least=0.8)
        assert row.line == (
            f"| attempts | {measured:.1f} /s | bare client: 100 | {measured / 100:.2f} | ≥ 0.8 | {verdict} |"
        )
    assert figures.Figure("a click", 30, "ms", 10, "a bare call").line.endswith("| 3.00 |  |  |")


def test_the_usual_run_prints_one_table_and_writes_what_it_is_made_of(monkeypatch, tmp_path, capsys):
    row = figures.Figure("attempts", 80, "/s", 100, "bare client", raw={"seconds": [1.5]})
    monkeypatch.setattr(command, "TABLE", {"some": lambda: iter([row])})
    monkeypatch.setattr(command, "BELOW", {"million": million.lines})
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "results.json")
    assert command.main([]) == 0
    printed = capsys.readouterr().out
    assert printed.count(figures.HEAD[0]) == 1 and row.line in printed
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["parts"]["some"][0]["raw"] == {"seconds": [1.5]}
    assert written["parts"]["some"][0]["ratio"] == 0.8
    assert written["below"]["million"]
    assert "\n".join(["\n## million\n", *written["below"]["million"]]) in printed
    assert {"processors", "memory_mb", "python", "date", "servers", "packages"} <= written.keys()


def test_a_part_that_fails_is_an_error_and_leaves_the_others_their_figures(monkeypatch, tmp_path, capsys):
    row = figures.Figure("attempts", 80, "/s", 100, "bare client")

    def failing():
        yield row
        raise RuntimeError("The ledger does not add up: 1 post is missing.")

    monkeypatch.setattr(command, "TABLE", {"drain": failing, "jobs": lambda: iter([row])})
    monkeypatch.setattr(command, "BELOW", {"nowhere": failing})
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "results.json")
    assert command.main([]) == 1
    said = capsys.readouterr().err
    assert "ERROR in drain: The ledger does not add up" in said
    assert "ERROR in nowhere: it ended with 2" in said
    written = json.loads((tmp_path / "results.json").read_text())
    assert [len(found) for found in written["parts"].values()] == [1, 1]
    assert written["errors"]["drain"] == "The ledger does not add up: 1 post is missing."


def test_a_part_that_does_not_exist_is_named(capsys):
    assert command.main(["nothing"]) == 2
    assert "no part “nothing”" in capsys.readouterr().err


def test_how_many_of_the_asked_post_follows_from_the_policy():
    policy = PostingPolicy()
    assert million.posting_share(policy, 9 * 3600) == 1
    assert million.posting_share(replace(policy, recency_steps=(RecencyStep(90, 0.5),)), 60) == (
        pytest.approx(1 / 1.5)
    )
    assert 0.4 < million.posting_share(policy, 3600) < 0.6


def test_a_million_twins_are_worked_out_from_what_was_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "results.json")
    assert "Run `make bench` first" in "".join(million.lines())
    rows = {
        "throughput": [{"measured": 100.0}, {"measured": 0.5}],
        "stages": [
            {"what": "CPU of an attempt, 1. call", "measured": 5.0},
            {"what": "CPU of an attempt, 2. decide (read)", "measured": 2.0},
            {"what": "CPU of an attempt, all stages", "measured": 7.0},
        ],
        "drain": [
            {"measured": 90.0, "raw": {"database": "SQLite", "bytes_grown": 1, "done": 1, "workers": 1}},
            {"measured": 80.0, "raw": {"database": "PostgreSQL", "bytes_grown": 50_000, "done": 10,
                                       "workers": 2}},
        ],
    }  # fmt: skip
    figures.write({"parts": rows})
    found = {line.split(" | ")[0].strip("| "): line.split(" | ")[1] for line in million.lines()}
    assert found["attempts"] == "278 /s, 24.0 million a day"
    assert found["of them post, and call the model"].startswith("52%: 144 calls/s")
    assert found["worker processes"] == "2"
    assert found["processes the plain way"] == "289"
    assert found["processors for them"] == "1.3"
    assert found["growth of the database"] == "62 GB a day"

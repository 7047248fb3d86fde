"""The first screen: what happened, why twins are silent, what comes next, and what is wrong."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.reasons import ExperimentState, TokenState
from pdsapp.models import Cadence, Experiment, ProcessKind, Schedule, ScheduleRevision, utc_now
from pdsapp.services import heartbeats, protocol
from pdsapp.web.pages.dashboard import change_words, percent_words
from tests.attempt_rows import add_row
from tests.builders import make_experiment, make_token, make_twin
from tests.web.looking import assert_nothing_inline, counted_queries, words_of


def ago(**spans):
    return utc_now() - timedelta(**spans)


@pytest.fixture
def study(app):
    return make_experiment("Campus climate", "America/Indiana/Indianapolis")


@pytest.fixture
def twin(study):
    return make_twin(study, "dr_okafor")


@pytest.fixture
def alive(write):
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now(), "default,now")
        heartbeats.beat(session, ProcessKind.scheduler, "s1", utc_now(), is_leader=True)


@pytest.fixture
def history(twin):
    for hours in range(45, 25, -1):
        add_row(twin, "posted", "drawn", ago(hours=hours), draw=0.9)
    add_row(twin, "failed", "deadline", ago(hours=8), draw=0.9, detail="No usable answer within 90 s.")
    add_row(twin, "skipped", "inactive", ago(hours=7))
    add_row(twin, "skipped", "twin_busy", ago(hours=6))
    for hours in (5, 4, 3):
        add_row(twin, "skipped", "recency", ago(hours=hours), draw=0.41, age_hours=0.5)
    for hours in (2, 1):
        add_row(twin, "posted", "drawn", ago(hours=hours), f"Bus {hours} came.", draw=0.9, age_hours=5)


def test_a_stranger_is_sent_to_sign_in(client):
    answer = client.get("/admin/")
    assert answer.status_code == 302 and "/login" in answer.location


def test_the_root_leads_to_the_dashboard(viewer):
    answer = viewer.get("/")
    assert (answer.status_code, answer.location) == (302, "/admin/")


def test_counters_stand_with_their_change_and_the_ledger_adds_up(viewer, history, alive):
    words = words_of(viewer.get("/admin/"))
    assert "Posted 2 −90 % on the 24 h before" in words
    assert "Skipped by rule 3 50 % of 6 unforced draws" in words
    assert "Held back 2 1 limits, 1 operational" in words
    assert "Failed 1 mostly “no answer within the time limit”" in words
    assert "Active twins 1 all there are" in words
    assert "Ledger: 8 asked = 2 posted + 5 skipped + 1 failed + 0 waiting. It adds up." in words


def test_skips_are_told_by_reason_and_class(viewer, history):
    answer = viewer.get("/admin/")
    words = words_of(answer)
    assert "Why twins stayed silent 5 silent or held back, last 24 hours" in words
    assert "The rule's draw 3 posted recently 3" in words
    assert "Held back by limits 1 already at work on another post 1" in words
    assert "Operational 1 twin is not active 1" in words
    assert 'href="/activity?state=skipped&amp;reason=recency"' in answer.text


def test_what_was_called_off_is_told_too(viewer, twin):
    assert "Called off" not in words_of(viewer.get("/admin/"))
    for reason in ("stopped", "stopped", "paused"):
        add_row(twin, "cancelled", reason, ago(hours=1))
    answer = viewer.get("/admin/")
    assert "Called off 3 stopped by hand 2" in words_of(answer)
    assert 'href="/activity?state=cancelled&amp;reason=stopped"' in answer.text
    assert "stopped by hand,Called off,2" in viewer.get("/dashboard/silence.csv").text


def test_the_chart_is_svg_whose_numbers_stand_in_a_table_too(viewer, history):
    answer = viewer.get("/admin/?period=48h")
    assert 'aria-label="Attempts per half hour, last 48 hours: 22 posted, 5 skipped, 1 failed"' in answer.text
    table = re.search(r'<details class="numbers">.*?</details>', answer.text, re.S)[0]
    counts = [int(cell) for cell in re.findall(r'<td class="num">([\d,]+)</td>', table)]
    assert sum(counts) == 28


@pytest.mark.parametrize("period", ["24h", "48h", "7d", "30d"])
def test_each_period_can_be_chosen(viewer, history, period):
    answer = viewer.get(f"/admin/?period={period}")
    assert answer.status_code == 200
    assert re.search(rf'period={period}" aria-current="true"', answer.text)


def test_an_absurd_period_is_the_usual_one(viewer):
    assert "Last 24 hours" in viewer.get("/admin/?period=%00x").text


def test_times_carry_the_experiments_zone(viewer, study, history):
    answer = viewer.get(f"/admin/?experiment={study.identifier}")
    assert "times in America/Indiana/Indianapolis (E" in words_of(answer)
    assert re.search(r"\d\d:\d\d:\d\d E[SD]T", answer.text)


def test_of_all_experiments_times_are_utc_and_rows_say_which(viewer, history):
    words = words_of(viewer.get("/admin/?experiment="))
    assert "times in UTC" in words
    assert "@dr_okafor Campus climate" in words


def test_the_latest_attempts_show_the_draw_and_its_verdict(viewer, history):
    answer = viewer.get("/admin/")
    words = words_of(answer)
    assert "drew 0.41 < 0.80: skips" in words
    assert "drew 0.90 ≥ 0.30: posts" in words
    assert "Bus 1 came." in words
    assert 'aria-label="drew 0.41 &lt; 0.80: skips"' in answer.text
    assert "nothing drawn" in words


def test_without_a_worker_and_a_scheduler_the_banners_name_the_commands(viewer):
    answer = viewer.get("/admin/")
    assert "No worker is alive." in words_of(answer)
    assert "<code>flask worker</code>" in answer.text
    assert "No scheduler is alive." in words_of(answer)
    assert "<code>flask scheduler</code>" in answer.text


def test_when_all_is_well_there_is_no_attention_list(viewer, twin, alive):
    assert "Needs attention" not in viewer.get("/admin/").text


def test_a_lane_nobody_serves_is_named(viewer, twin, write):
    with write() as session:
        heartbeats.beat(session, ProcessKind.worker, "w1", utc_now(), "default")
    add_row(twin, "due", None, ago(seconds=5), lane="now")
    assert "No worker serves lane “now”. 1 attempts wait there." in words_of(viewer.get("/admin/"))


def test_paused_tokens_broken_schedules_and_paused_experiments_are_named(viewer, settings, study, write):
    token = make_token(settings, "https://llm.example.org/v1", "lab")
    make_twin(study, token=token)
    with write() as session:
        token = session.merge(token)
        token.state, token.paused_reason = TokenState.paused, "The key was refused (401)."
        token.paused_by, token.paused_at = "ada@example.org", datetime(2026, 11, 25, 9, 2, tzinfo=UTC)
        session.merge(study).state = ExperimentState.paused
        session.add(
            Schedule(
                name="Old",
                experiment_id=study.id,
                cadence=Cadence.cron,
                cron="0 0 31 2 *",
                is_enabled=True,
                broken_reason="It never fires.",
            )
        )
    words = words_of(viewer.get(f"/admin/?experiment={study.identifier}"))
    paused = "Token “lab” is paused since Wed 25 Nov 2026, 04:02 EST by ada@example.org: "
    assert f"{paused}The key was refused (401)." in words
    assert "Schedule “Old” is broken. It never fires." in words
    assert "This experiment is paused" in words


def test_next_slots_show_cadence_instant_zone_and_outcomes(viewer, twin, study, write):
    at = utc_now() + timedelta(minutes=130, seconds=5)
    with write() as session:
        intent = {
            "experiment_id": study.id,
            "cadence": Cadence.cron,
            "cron": "*/15 8-22 * * *",
            "zone": "Europe/Rome",
        }
        schedule = Schedule(name="Evening debate", next_slot_at=at, is_enabled=True, **intent)
        session.add(schedule)
        session.flush()
        session.add(ScheduleRevision(schedule_id=schedule.id, number=1, valid_from=at, **intent))
    answer = viewer.get(f"/admin/?experiment={study.identifier}")
    words = words_of(answer)
    assert "Next slots 1 schedule Evening debate every 15 min, 08:00–22:45, every day" in words
    assert re.search(r"\d\d:\d\d CES?T , in 2 h 10 min", words)


def test_an_empty_installation_says_what_to_do_first(researcher):
    answer = researcher.get("/admin/")
    words = words_of(answer)
    assert "There is no experiment yet. Twins live in experiments, so begin with one." in words
    assert "Add schedule" not in answer.text, "which cannot be used before"
    assert "Nothing happened in this period." in words
    assert 'href="/admin/experiment/new/"' in answer.text


def test_a_viewer_is_not_invited_to_what_it_may_not_do(viewer):
    answer = viewer.get("/admin/")
    assert "/new/" not in answer.text and "Post now" not in answer.text


def test_an_experiment_without_twins_says_so(researcher, study):
    assert "There is no twin yet, so there was nobody to ask." in words_of(researcher.get("/admin/"))


def test_a_demo_whose_schedule_is_off_says_why(viewer, write):
    demo = make_experiment("Riverton", is_demo=True)
    with write() as session:
        session.add(Schedule(name="Demo", experiment_id=demo.id, cadence=Cadence.cron, cron="* * * * *"))
    words = words_of(viewer.get(f"/admin/?experiment={demo.identifier}"))
    assert "a demo never spends money" in words
    assert "written by the offline writer" in words


def test_hostile_text_stays_text(viewer, twin):
    add_row(twin, "posted", "drawn", ago(minutes=5), "<script>alert(1)</script>", draw=0.9)
    answer = viewer.get("/admin/")
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text


def test_nothing_is_styled_or_scripted_inline(viewer, history):
    assert_nothing_inline(viewer.get("/admin/"))


def test_a_page_costs_the_same_queries_however_much_there_is_to_show(viewer, twin, study, write):
    def cost():
        with counted_queries() as found:
            assert viewer.get("/admin/").status_code == 200
        return len(found)

    add_row(twin, "posted", "drawn", ago(hours=1), draw=0.9)
    few = cost()
    for number in range(6):
        other = make_twin(study)
        add_row(other, "posted", "drawn", ago(hours=number), draw=0.9)
        add_row(other, "skipped", "recency", ago(hours=number), draw=0.1, age_hours=0.5)
        with write() as session:
            session.add(
                Schedule(
                    name=f"S{number}",
                    experiment_id=study.id,
                    cadence=Cadence.cron,
                    cron="* * * * *",
                    is_enabled=True,
                    next_slot_at=utc_now(),
                )
            )
    assert cost() <= few + 2  # the outcome strips, once there are schedules
    assert few <= 42  # five of them look for troubles of kinds of their own


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (0, 0, "none in the 24 h before"),
        (7, 0, "none in the 24 h before"),
        (7, 9, "9 in the 24 h before"),
        (108, 100, "+8 % on the 24 h before"),
        (50, 100, "−50 % on the 24 h before"),
        (100, 100, "as in the 24 h before"),
        (30_000, 10, "+299,900 % on the 24 h before"),
    ],
)
def test_changes_are_percent_only_where_percent_says_something(now, before, words):
    assert change_words(now, before, "24 h") == words


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [(0, 9, "0 %"), (1, 900, "<1 %"), (899, 900, ">99 %"), (9, 9, "100 %"), (1, 2, "50 %")],
)
def test_shares_are_never_rounded_to_a_wrong_0_or_100(part, whole, words):
    assert percent_words(part, whole) == words


def test_of_many_protocol_changes_the_latest_show_and_the_rest_is_folded(researcher, rows, write):
    add_row(rows.twin, "posted", "drawn", ago(minutes=5))
    for number in range(8):
        with write() as session:
            row = session.get_one(Experiment, rows.experiment.id)
            policy = replace(PostingPolicy(), share_cap=0.5 + number / 100)
            protocol.save_policy(session, row, row.edit_version, policy, utc_now(), f"pilot {number}")
    marked = researcher.get("/admin/").text.split("Protocol changes in this period")[1].split("</section>")[0]
    folded, shown = marked.split("</details>")
    assert "3 earlier ones" in folded
    assert re.findall(r"pilot \d", folded) == ["pilot 0", "pilot 1", "pilot 2"]
    assert re.findall(r"pilot \d", shown) == [f"pilot {number}" for number in range(3, 8)]


def test_a_protocol_change_is_a_line_in_the_chart_with_its_reason_below(researcher, rows, write):
    add_row(rows.twin, "posted", "drawn", ago(minutes=5))
    with write() as session:
        row = session.get_one(Experiment, rows.experiment.id)
        policy = replace(PostingPolicy(), share_cap=0.5)
        protocol.save_policy(session, row, row.edit_version, policy, utc_now(), "too <b>chatty</b>")
    answer = researcher.get("/admin/")
    assert re.search(
        r'<line class="marker"[^>]*/>\s*<text class="marker-text"[^>]*>policy</text>', answer.text
    )
    assert "Protocol changes in this period" in words_of(answer)
    assert "Posting policy: share cap too <b>chatty</b> What differs" in words_of(answer)
    researcher.post("/switch", data={"experiment": ""})
    assert f"{rows.experiment}: Posting policy: share cap too" in words_of(researcher.get("/admin/"))

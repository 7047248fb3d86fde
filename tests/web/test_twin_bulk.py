"""Many twins at once in the browser: a plan first, then all of it or nothing."""

import csv
import io
import re

import pytest
from sqlalchemy import func, select

from pdsapp.domain.reasons import ExperimentState
from pdsapp.models import BulkImport, DigitalTwin, Experiment, ImportState, UserProfile, utc_now
from pdsapp.services import bulk_imports, personas
from tests import builders
from tests.web.looking import assert_nothing_inline, fields_of, words_of

PAGE = "/admin/digitaltwin/bulk/"
HEADER = "username,persona_name,persona\n"


def send(browser, rows, files=(), **values):
    """What a browser sends of the form; `files`: (field, name, text or bytes)."""
    fields = {"experiment": str(rows.experiment.id), "source": "table", "is_active": "y", **values}
    pairs = [
        (name, each)
        for name, value in fields.items()
        for each in ([value] if isinstance(value, str) else value)
    ]
    parts = [(f'name="{name}"', value.encode()) for name, value in pairs]
    parts += [
        (f'name="{field}"; filename="{name}"', text if isinstance(text, bytes) else text.encode())
        for field, name, text in files
    ]
    body = b"".join(
        f"--limit\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + value + b"\r\n"
        for head, value in parts
    )
    return browser.post(
        PAGE, data=body + b"--limit--\r\n", content_type="multipart/form-data; boundary=limit",
        follow_redirects=True,
    )  # fmt: skip


def table(browser, rows, text, **values):
    return send(browser, rows, [("table", "twins.csv", text)], **values)


def confirm(browser, answer, **values):
    address = re.search(r'action="(/admin/digitaltwin/bulk/[^"]+/set-up/)"', answer.text)[1]
    return browser.post(address, data=fields_of(answer, "fingerprint") | values, follow_redirects=True)


def usernames(session):
    session.rollback()
    session.expire_all()
    query = select(UserProfile.username).join(DigitalTwin, DigitalTwin.user_profile_id == UserProfile.id)
    return sorted(session.scalars(query))


def test_two_hundred_twins_are_a_file_a_plan_and_a_click(researcher, rows, session):
    text = HEADER + "".join(f"user_{n},Bus driver,\n" for n in range(200))
    plan = table(researcher, rows, text)
    assert "200 to create." in words_of(plan)
    assert usernames(session) == ["maya_reads"]
    done = confirm(researcher, plan)
    assert "200 twins set up, 0 updated, 0 skipped." in words_of(done)
    assert len(usernames(session)) == 201
    assert session.get_one(Experiment, rows.experiment.id).active_twin_count == 201
    assert session.scalars(select(BulkImport.content)).all() == [""]
    assert_nothing_inline(plan), assert_nothing_inline(done)


def test_errors_stand_by_row_and_column_and_in_a_file_that_is_no_formula(researcher, rows, session):
    plan = table(
        researcher, rows, f"{HEADER}=1+1,Bus driver,\nada,Bus driver,\nbob,Nobody,\nonly\ncy,Bus driver,\n"
    )
    words = words_of(plan)
    assert "To be mended 4 in all" in words
    assert "@ada is a person of this experiment" in words
    assert "There is no persona “Nobody” in the library." in words
    assert "Set up all of it" not in words
    address = re.search(r'href="([^"]+/errors.csv)"', plan.text)[1]
    found = list(csv.reader(io.StringIO(researcher.get(address).text)))
    assert found[0] == ["row", "column", "value", "what to do"]
    assert ["twins.csv, line 2", "username", "'=1+1"] in [row[:3] for row in found]
    assert len(found) == 5
    assert confirm(researcher, plan).status_code == 400
    assert usernames(session) == ["maya_reads"]


def test_texts_are_a_twin_a_file(researcher, rows, session):
    files = [("texts", "shy_poet.txt", "Writes little."), ("texts", "Nurse.md", "Works nights.")]
    confirm(researcher, send(researcher, rows, files, source="texts"))
    assert usernames(session) == ["maya_reads", "nurse", "shy_poet"]


def test_a_folder_of_more_texts_than_other_forms_have_parts_is_taken(researcher, rows):
    files = [("texts", f"p{number}.txt", f"Likes {number}.") for number in range(1001)]
    plan = send(researcher, rows, files, source="texts")
    assert plan.status_code == 200 and "1,001 to create" in words_of(plan)


def test_a_pattern_is_so_many_of_each_persona(researcher, rows, session, write):
    with write() as other:
        personas.add_persona(other, "Nurse", "Works nights.", utc_now())
        other.flush()
        ids = [str(number) for number in other.scalars(select(personas.Persona.id))]
    plan = send(researcher, rows, source="pattern", chosen=ids, count="2", pattern="{persona}_{n}")
    confirm(researcher, plan)
    assert usernames(session) == ["bus_driver_1", "bus_driver_2", "maya_reads", "nurse_1", "nurse_2"]


@pytest.mark.parametrize(
    ("values", "files", "said"),
    [
        ({}, [], "Choose at least one file."),
        ({}, [("table", "a.csv", "\ufeff\n \r\n")], "a.csv is empty."),
        ({}, [("table", "a.csv", HEADER)], "a.csv has no rows."),
        ({}, [("table", "a.csv", HEADER.encode("utf-16"))], "a.csv is not UTF-8"),
        ({}, [("table", "a.csv", HEADER.replace(",", ";"))], "Save it with commas."),
        ({}, [("table", "a.txt", "x")], "a.txt is not one of .csv, .jsonl, .ndjson."),
        ({}, [("table", "a.csv", "username,username\na,b\n")], "stands there twice"),
        ({"source": "texts"}, [("texts", "a.csv", "x")], "a.csv is not one of .txt, .md."),
        ({"source": "pattern"}, [], "Choose at least one persona."),
        ({"source": "pattern", "chosen": "1", "count": "0"}, [], "Write a number from 1"),
        ({"source": "pattern", "chosen": "1", "count": "2", "pattern": "same"}, [], "Use {n} for a number"),
        ({"source": "pattern", "chosen": "999", "count": "2"}, [], "not a valid choice"),
        ({"experiment": "77"}, [("table", "a.csv", HEADER)], "Not a valid choice"),
    ],
    ids=lambda value: "",
)
def test_what_cannot_be_used_is_refused_at_its_field_and_keeps_nothing(
    researcher, rows, session, values, files, said
):
    answer = send(researcher, rows, files, **values)
    assert answer.status_code == 400 and said in words_of(answer)
    assert 'id="error-summary"' in answer.text
    assert session.scalar(select(func.count(BulkImport.id))) == 0


def test_a_file_that_is_far_too_large_is_refused_with_the_limit(researcher, rows):
    answer = table(researcher, rows, b"x" * 21_000_001)
    assert answer.status_code == 413 and "at most 21 MB in one go" in words_of(answer)


def test_a_table_larger_than_other_forms_may_be_is_taken(researcher, rows):
    plan = table(researcher, rows, HEADER + "".join(f"u{n},P{n},{'x' * 15_000}\n" for n in range(200)))
    assert plan.status_code == 200 and "200 to create" in words_of(plan)


def test_a_username_taken_between_plan_and_click_shows_the_new_plan(researcher, rows, session):
    plan = table(researcher, rows, f"{HEADER}ann,Bus driver,\nbob,Bus driver,\n")
    builders.make_person(rows.experiment, "bob")
    answer = confirm(researcher, plan)
    assert answer.status_code == 400
    words = words_of(answer)
    assert "Nothing was set up. Look at the new plan" in words and "@bob is a person" in words
    assert usernames(session) == ["maya_reads"]


def test_updating_twins_of_a_study_under_way_asks_for_a_reason_and_keeps_it(researcher, rows, session):
    text = "username,llm_model,bio\nmaya_reads,large,New.\n"
    plan = table(researcher, rows, text)
    words = words_of(plan)
    assert "1 to update" in words and "model: none → large" in words
    refused = confirm(researcher, plan, reason=" ")
    assert refused.status_code == 400 and "has begun" in words_of(refused)
    done = confirm(researcher, refused, reason="The small one was withdrawn")
    assert "0 twins set up, 1 updated, 0 skipped." in words_of(done)
    session.expire_all()
    assert session.get_one(DigitalTwin, rows.twin.id).llm_model == "large"


def test_a_large_one_waits_for_a_worker_and_its_page_says_so(researcher, rows, session):
    plan = table(researcher, rows, HEADER + "".join(f"user_{n},Bus driver,\n" for n in range(501)))
    assert "A worker sets them up" in words_of(plan) and "The first 200 of 501 rows." in words_of(plan)
    page = confirm(researcher, plan)
    words = words_of(page)
    assert "Waiting for a worker" in words and "No worker serves lane “default”" in words
    assert '<progress max="501" value="0"' in page.text and 'data-renew="2"' in page.text
    row = session.scalars(select(BulkImport)).one()
    address = f"{PAGE}{row.uuid}/"
    cursor = re.search(r'data-cursor="([^"]+)"', page.text)[1]
    assert researcher.get(f"{address}state/?since={cursor}").status_code == 204
    with_app = bulk_imports.run(row.id, utc_now)
    assert with_app == ImportState.done
    assert researcher.get(f"{address}state/?since={cursor}").status_code == 200
    over = researcher.get(address)
    assert "501 twins set up" in words_of(over) and "data-renew" not in over.text


def test_one_that_failed_says_why_and_can_be_run_again(researcher, rows, session, write):
    confirm(researcher, table(researcher, rows, HEADER + "".join(f"u_{n},Bus driver,\n" for n in range(501))))
    with write() as other:
        row = other.scalars(select(BulkImport)).one()
        row.state, row.message = ImportState.failed, bulk_imports.LOST
        uuid = row.uuid
    assert "3 workers have begun it and were lost" in words_of(researcher.get(f"{PAGE}{uuid}/"))
    again = researcher.post(f"{PAGE}{uuid}/again/", follow_redirects=True)
    assert "Waiting for a worker" in words_of(again)


def test_a_long_plan_shows_what_needs_a_look_first_and_folds_the_rest(researcher, rows):
    lines = "".join(f"user_{n},Bus driver,\n" for n in range(100))
    plan = table(researcher, rows, f"{HEADER}{lines}maya_reads,Bus driver,\nbad name,Bus driver,\n")
    seen, folded = plan.text.split('<details class="fold inner">', 1)
    twins = re.findall(r'data-label="Twin"><div[^>]*>(?:<a[^>]*>)?([^<]+)<', seen)
    assert twins[:3] == ["bad name", "@maya_reads", "@user_0"] and len(twins) == 20
    assert "Show the other 82 rows" in words_of(plan) and "@user_99" in folded
    form = re.search(r'<form class="form editor" .*?</form>', plan.text, re.S)[0]
    assert form.index("What it would do") < form.index("@user_0") < form.index('class="save-row"')


def test_of_a_study_that_ended_meanwhile_the_plan_says_so_and_can_be_forgotten(
    researcher, rows, session, write
):
    plan = table(researcher, rows, f"{HEADER}ann,Bus driver,\n")
    address = re.search(r'action="(/admin/digitaltwin/bulk/[^"]+)set-up/"', plan.text)[1]
    with write() as own:
        own.get_one(Experiment, rows.experiment.id).state = ExperimentState.ended
    for answer in (researcher.get(address), confirm(researcher, plan)):
        assert "Nothing was set up The experiment is ended: it takes no more twins." in words_of(answer)
        assert "Set up all of it" not in answer.text and "Forget it" in answer.text
    assert researcher.get(f"{address}errors.csv").status_code == 400
    researcher.post(f"{address}drop/")
    assert session.scalar(select(func.count(BulkImport.id))) == 0


def test_an_upload_can_be_forgotten(researcher, rows, session):
    plan = table(researcher, rows, f"{HEADER}ann,Bus driver,\n")
    address = re.search(r'formaction="([^"]+/drop/)"', plan.text)[1]
    assert "is forgotten" in words_of(researcher.post(address, follow_redirects=True))
    assert session.scalar(select(func.count(BulkImport.id))) == 0


def test_somebody_else_s_upload_is_not_shown(sign_in, researcher, rows, session):
    plan = table(researcher, rows, f"{HEADER}ann,Bus driver,\n")
    address = re.search(r'action="(/admin/digitaltwin/bulk/[^"]+)set-up/"', plan.text)[1]
    other = sign_in("researcher", "other@example.org")
    assert other.get(address).status_code == 404
    assert other.post(f"{address}set-up/").status_code == 404
    assert other.post(f"{address}drop/").status_code == 404
    viewer = sign_in("viewer")
    assert {viewer.get(address).status_code, viewer.get(PAGE).status_code} == {403}
    assert sign_in("administrator").get(address).status_code == 200


def test_one_finds_back_to_what_one_has_begun(sign_in, researcher, rows, session, write):
    plan = table(researcher, rows, f"{HEADER}ann,Bus driver,\n")
    address = re.search(r'action="(/admin/digitaltwin/bulk/[^"]+)set-up/"', plan.text)[1]
    page = researcher.get(PAGE)
    assert f'href="{address}"' in page.text
    assert "twins.csv not confirmed Campus climate" in words_of(page)
    confirm(researcher, plan)
    assert "twins.csv done Campus climate" in words_of(researcher.get(PAGE))
    assert address not in sign_in("researcher", "other@example.org").get(PAGE).text
    assert address in sign_in("administrator").get(PAGE).text
    with write() as own:
        own.scalars(select(BulkImport)).one().state = ImportState.failed
    page = researcher.get(PAGE)
    assert "twins.csv not set up Campus climate" in words_of(page)
    assert "Run it again" in words_of(researcher.get(address))


def test_a_plan_asks_the_database_no_more_for_more_rows(researcher, rows, count_queries):
    counts = []
    for number in (2, 150):
        plan = table(researcher, rows, HEADER + "".join(f"u{n},Bus driver,\n" for n in range(number)))
        address = re.search(r'action="(/admin/digitaltwin/bulk/[^"]+)set-up/"', plan.text)[1]
        with count_queries() as statements:
            researcher.get(address)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_texts_of_strangers_are_shown_as_texts(researcher, rows):
    evil = "<script>alert(1)</script>"
    plan = send(researcher, rows, [("table", f"{evil}.csv", f'{HEADER}"{evil}",{evil},{{{{7*7}}}}\n')])
    assert evil not in plan.text and "49" not in words_of(plan)


def test_the_way_there_is_on_the_list_and_on_the_experiment(researcher, rows):
    assert f'href="{PAGE}' in researcher.get("/admin/digitaltwin/").text
    page = researcher.get(f"/admin/experiment/details/?id={rows.experiment.id}").text
    assert f'href="{PAGE}?experiment={rows.experiment.identifier}"' in page
    template = researcher.get(f"{PAGE}template.csv")
    assert template.text.startswith("username,persona_name,persona,")

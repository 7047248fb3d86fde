"""The plan of a bulk set-up: what becomes of each row, and why."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from pdsapp.database import transaction
from pdsapp.domain.reasons import ExperimentState
from pdsapp.errors import BadInput
from pdsapp.models import (
    AuditEvent,
    DigitalTwin,
    Experiment,
    Persona,
    PersonaVersion,
    ProtocolChange,
    utc_now,
)
from pdsapp.services import bulk, bulk_files, personas
from pdsapp.services.bulk_files import CellError, NamedFile, Row, Sheet
from pdsapp.services.bulk_plan import Options, Verb, make_plan
from tests import builders

pytestmark = pytest.mark.database


def sheet(*rows):
    return Sheet(tuple(replace(row, place=f"f.csv, line {n}") for n, row in enumerate(rows, 2)))


def row(username="ann", **cells):
    return Row(place="", username=username, **({"persona": "Likes tea.", "persona_name": "Tea"} | cells))


def plan(study, *rows, **options):
    with transaction() as session:
        return make_plan(session, session.get_one(Experiment, study.id), sheet(*rows), Options(**options))


def carry_out(study, made, reason=""):
    with transaction() as session:
        return bulk.carry_out(session, session.get_one(Experiment, study.id), made, utc_now(), reason)


def twin_named(session, username):
    session.rollback()
    session.expire_all()
    return session.scalars(
        select(DigitalTwin).join(DigitalTwin.user_profile).filter_by(username=username)
    ).one()


def test_a_new_username_is_created_and_the_same_file_again_is_skipped(study, session):
    first = plan(study, row(tags="b, a"), row("bob", persona="", bio="Reads."))
    assert [step.verb for step in first.steps] == [Verb.create, Verb.create]
    assert len(carry_out(study, first).created) == 2
    again = plan(study, row(tags="b, a"), row("bob", persona="", bio="Reads."))
    assert [step.verb for step in again.steps] == [Verb.skip, Verb.skip]
    assert {step.cause for step in again.steps} == {"is there and nothing differs"}
    assert session.get_one(Experiment, study.id).active_twin_count == 2
    assert session.scalars(select(DigitalTwin.active_rank).order_by(DigitalTwin.id)).all() == [0, 1]


def test_an_archived_persona_is_neither_used_nor_given_another_text(study, write):
    with write() as writing:
        personas.add_persona(writing, "Tea", "Likes tea.", utc_now()).persona.is_archived = True
    made = plan(study, row(persona=""), row("bob"), row("cy", persona="Likes coffee."))
    assert {error.message for error in made.errors} == {
        "Persona “Tea” is archived. Bring it back, or use another name."
    }
    assert [(error.place, error.column) for error in made.errors] == [
        (f"f.csv, line {number}", "persona_name") for number in (2, 3, 4)
    ]


def test_a_tag_that_nobody_can_see_is_refused(study):
    made = plan(study, row(tags="pilot, \u200b"), row("bob", tags="pilot, ,"))
    assert [(error.column, error.message) for error in made.errors] == [("tags", "This must not be empty.")]


def test_a_twin_that_is_there_is_updated_where_a_cell_differs_and_an_empty_cell_leaves_it(study, session):
    carry_out(study, plan(study, row(bio="Old.", llm_model="small", tags="pilot")))
    made = plan(study, row(persona="", persona_name="", bio="New."))
    assert (made.steps[0].verb, made.steps[0].cause) == (Verb.update, "is there; other bio")
    assert not made.needs_reason
    carry_out(study, made)
    twin = twin_named(session, "ann")
    assert (twin.user_profile.bio, twin.llm_model, [tag.tag for tag in twin.tags]) == (
        "New.", "small", ["pilot"],
    )  # fmt: skip
    event = session.scalars(select(AuditEvent).filter_by(action="change", object_type="digital_twin")).one()
    assert (event.before, event.after) == ({"bio": "Old."}, {"bio": "New."})


def test_another_model_in_a_study_that_runs_needs_a_reason_and_is_one_protocol_change(study, session):
    rows = [row(name) for name in ("ann", "bob", "cy")]
    carry_out(study, plan(study, *rows))
    made = plan(study, *(replace(each, llm_model="large") for each in rows))
    assert made.needs_reason
    with pytest.raises(BadInput, match="has begun") as caught:
        carry_out(study, made)
    assert caught.value.field == "reason" and twin_named(session, "ann").llm_model == ""
    carry_out(study, made, "The small one was withdrawn")
    change = session.scalars(select(ProtocolChange)).one()
    assert change.summary == "3 twins at once: model"
    assert (change.before, change.after) == ({"llm_model": {"none": 3}}, {"llm_model": {"large": 3}})
    assert twin_named(session, "cy").llm_model == "large"


@pytest.mark.parametrize(
    ("cells", "column", "said"),
    [
        ({"username": "a b"}, "username", "Use 1 to 30 letters"),
        ({"username": "=cmd()"}, "username", "Use 1 to 30 letters"),
        ({"username": "WALT"}, "username", "@WALT is a person of this experiment"),
        ({"username": "first"}, "username", "@first stands in f.csv, line 2 already"),
        ({"persona": "x" * 100_000}, "persona", "100,000 characters; at most 20,000"),
        ({"persona": "", "persona_name": "Nobody"}, "persona_name", "no persona “Nobody” in the library"),
        ({"persona": "", "persona_name": ""}, "persona", "There is no persona."),
        ({"persona": "Another text."}, "persona", "has another text in f.csv, line 2"),
        ({"token": "nope"}, "token", "There is no API token “nope”"),
        ({"llm_url": "ftp://x"}, "llm_url", "http"),
        ({"parameters": "heat=3"}, "parameters", "“heat” is not a parameter"),
        ({"tags": ",".join(map(str, range(30)))}, "tags", "at most 20 tags"),
        ({"bio": "a\x00b"}, "bio", "control character"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_said_by_row_and_column_and_nothing_is_set_up(study, session, cells, column, said):
    builders.make_person(study, "walt")
    made = plan(study, row("first"), replace(row("second"), **cells), row("third"))
    assert [(e.place, e.column) for e in made.errors] == [("f.csv, line 3", column)]
    assert said in made.errors[0].message
    assert [step.verb for step in made.steps] == [Verb.create, Verb.wrong, Verb.create]
    with pytest.raises(bulk.BulkErrors, match="Nothing was set up"):
        carry_out(study, made)
    assert session.scalars(select(DigitalTwin)).all() == []
    assert session.scalars(select(Persona)).all() == []


def test_every_error_of_a_row_is_said(study):
    made = plan(study, row("a b", token="nope", tags="x" * 50))
    assert [error.column for error in made.errors] == ["username", "token", "tags"]


def test_a_username_taken_between_plan_and_set_up_stops_all_of_it(study, session):
    made = plan(study, row("ann"), row("bob"))
    builders.make_person(study, "bob")
    with pytest.raises(bulk.PlanChanged, match="Nothing was set up"):
        carry_out(study, made)
    assert session.scalars(select(DigitalTwin)).all() == []


def test_what_does_not_touch_the_plan_does_not_stop_it(study):
    made = plan(study, row("ann"))
    builders.make_person(study, "somebody_else")
    assert len(carry_out(study, made).created) == 1


def test_a_twin_edited_between_plan_and_set_up_is_not_overwritten(study, session):
    carry_out(study, plan(study, row("ann", bio="One.")))
    made = plan(study, row("ann", bio="Two."))
    with transaction() as other:
        other.scalars(select(DigitalTwin)).one().edit_version += 1
    with pytest.raises(bulk.PlanChanged):
        carry_out(study, made)


def test_made_up_usernames_dodge_those_taken_and_those_other_rows_ask_for(study):
    builders.make_person(study, "tea_2")
    made = plan(study, row(""), row("tea_3", bio="x"), row(""), row(""))
    assert [step.username for step in made.steps] == ["tea", "tea_3", "tea_4", "tea_5"]


def test_a_pattern_counts_up_over_what_is_taken(study):
    with transaction() as session:
        for name in ("Bus driver", "Nurse"):
            personas.add_persona(session, name, f"You are a {name}.", utc_now())
    builders.make_person(study, "nurse_1")
    rows = bulk.pattern_rows(["Bus driver", "Nurse"], 2, "{persona}_{n}")
    made = plan(study, *rows)
    assert [step.username for step in made.steps] == ["bus_driver_1", "bus_driver_2", "nurse_2", "nurse_3"]
    assert {step.wanted.persona.words for step in made.steps} == {"Bus driver, version 1", "Nurse, version 1"}


@pytest.mark.parametrize(
    ("names", "count", "pattern", "field"),
    [
        ([], 2, "{persona}_{n}", "chosen"),
        (["A"], 0, "{persona}_{n}", "count"),
        (["A"], 200_000, "{persona}_{n}", "count"),
        (["A"], 2, "{persona}", "pattern"),
        (["A"], 2, "{who}_{n}", "pattern"),
        (["A"], 2, "a b {n}", "pattern"),
        (["A"], 2, "x" * 40 + "{n}", "pattern"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_at_its_field(names, count, pattern, field):
    with pytest.raises(BadInput) as caught:
        bulk.pattern_rows(names, count, pattern)
    assert caught.value.field == field


def test_a_text_of_a_known_persona_is_a_new_version_and_the_same_text_is_none(study, session):
    with transaction() as other:
        personas.add_persona(other, "Tea", "Likes tea.", utc_now())
    carry_out(study, plan(study, row("ann")))
    carry_out(study, plan(study, row("bob", persona="Likes coffee.", persona_name="tea")))
    assert session.scalars(select(PersonaVersion.text).order_by(PersonaVersion.number)).all() == [
        "Likes tea.", "Likes coffee.",
    ]  # fmt: skip
    assert str(twin_named(session, "bob").persona_version) == "Tea, version 2"
    assert str(twin_named(session, "ann").persona_version) == "Tea, version 1"


def test_an_experiment_that_is_over_takes_no_twins(study):
    with transaction() as session:
        session.get_one(Experiment, study.id).state = ExperimentState.ended
    with pytest.raises(BadInput, match="takes no more twins"):
        plan(study, row())


def test_a_plan_asks_no_more_for_more_rows(study, app):
    import sqlalchemy as sa

    from pdsapp.extensions import db

    counts = []
    for number in (3, 300):
        asked = []
        listen = lambda *args, asked=asked: asked.append(args[2])  # noqa: E731
        sa.event.listen(db.engine, "before_cursor_execute", listen)
        plan(study, *(row(f"u{n}", persona=f"Text {n}.", persona_name=f"P{n}") for n in range(number)))
        sa.event.remove(db.engine, "before_cursor_execute", listen)
        counts.append(len(asked))
    assert counts[0] == counts[1]


def read(name, data):
    return bulk_files.read_files([NamedFile(name, data if isinstance(data, bytes) else data.encode())])


def test_a_ragged_row_is_an_error_of_its_row_and_the_others_are_read():
    found = read("t.csv", "username,persona\nann,ok\nbob\ncy,ok,more\ndi,ok\n")
    assert [each.username for each in found.rows] == ["ann", "di"]
    words = "This row has another number of cells than the first line."
    assert found.errors == (CellError("t.csv, line 3", "", words), CellError("t.csv, line 4", "", words))


def test_a_line_that_is_no_json_is_an_error_of_its_line():
    found = read("t.jsonl", '{"username": "ann", "persona": "x", "tags": ["b", "a"]}\n{oops\n[1]\n')
    assert found.rows[0].tags == "b,a"
    assert [each.place for each in found.errors] == ["t.jsonl, line 2", "t.jsonl, line 3"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("t.csv", "\ufeffusername;persona\na;b\n", "separated by semicolons"),
        ("t.csv", "username,username,persona\na,b,c\n", "twice"),
        ("t.csv", "username,mood\na,b\n", "unknown column “mood”"),
        ("t.csv", "username,persona\n", "t.csv has no rows"),
        ("t.csv", "username,persona\n".encode("utf-16"), "not UTF-8"),
        ("t.csv", 'username,persona\n"a,b\n', "quotation marks"),
        ("t.xlsx", b"PK", "neither .csv nor .jsonl"),
        ("t.txt", b"x" * 20_000_001, "20,000,000 (20 MB)"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_what_to_do(name, data, said):
    with pytest.raises(BadInput) as caught:
        read(name, data)
    assert said in str(caught.value)


def test_a_byte_order_mark_and_a_single_row_are_read():
    assert [each.username for each in read("t.csv", "\ufeffusername,persona\nann,ok\n").rows] == ["ann"]


def test_the_template_is_read_back():
    found = read("template.csv", bulk_files.template())
    assert found.errors == () and found.rows[0].username == "maya_reads"


def test_a_sheet_comes_back_as_it_was_put_away():
    given = Sheet((row("ann", bio='a\x00"é🙂\ud800'),), (CellError("l", "c", "m", "v"),))
    assert Sheet.unpack(given.pack()) == given and given.pack().isascii()

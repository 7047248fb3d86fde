"""Personas from files: every refusal names file and line, and nothing is done by halves."""

import json

import pytest
from sqlalchemy import func, select

from pdsapp.database import reading
from pdsapp.errors import BadInput
from pdsapp.models import Persona, PersonaVersion
from pdsapp.services import persona_files, persona_import, personas
from pdsapp.services.persona_files import FileErrors, NamedFile, PersonaRow, dump_rows, load_rows, read_files
from pdsapp.services.persona_import import Verb
from tests.conftest import NOON
from tests.web.looking import counted_queries

pytestmark = pytest.mark.database
BOM = b"\xef\xbb\xbf"


def read(**files):
    """Reads files given as name=text or bytes; `__` in a name is its dot."""
    return read_files(
        NamedFile(name.replace("__", "."), data if isinstance(data, bytes) else data.encode())
        for name, data in files.items()
    )


def errors_of(**files):
    with pytest.raises(FileErrors) as refused:
        read(**files)
    return refused.value.errors


def test_text_files_are_named_by_their_file():
    rows = read(retired_bus_driver__txt=BOM + b"You drove.\r\nBuses.", Nurse__md="You work nights.")
    assert [(row.name, row.text) for row in rows] == [
        ("retired bus driver", "You drove.\nBuses."), ("Nurse", "You work nights."),
    ]  # fmt: skip


def test_a_files_folder_is_no_part_of_its_name():
    rows = read_files([NamedFile("C:\\x\\Nurse.txt", b"a"), NamedFile("../../etc/Clerk.txt", b"b")])
    assert [row.name for row in rows] == ["Nurse", "Clerk"]


def test_csv_and_json_lines_are_read_with_a_byte_order_mark_and_line_breaks():
    rows = read(
        a__csv=BOM + b'Name, text ,notes\r\nNurse,"You work ""nights"".\nAlways, yes.",pilot\r\n',
        b__jsonl='{"name": "Clerk", "text": "You count.\u2028Slowly."}\n\n{"name": "É", "text": "x"}\n',
    )
    assert [(r.place, r.name, r.text, r.notes) for r in rows] == [
        ("a.csv, line 3", "Nurse", 'You work "nights".\nAlways, yes.', "pilot"),
        ("b.jsonl, line 1", "Clerk", "You count.\u2028Slowly.", None),
        ("b.jsonl, line 3", "É", "x", None),
    ]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a__csv", "name,text\nMüller,x\n".encode("latin-1"), "a.csv is not UTF-8 (line 2, byte 12)"),
        ("a__txt", "Nurse".encode("utf-16"), "a.txt is not UTF-8 (line 1, byte 1)"),
        ("a__csv", "name;text\nNurse;x\n", "a.csv, line 1 is separated by semicolons. Save it with commas."),
        ("a__csv", '"name";"text"\n"Nurse";"x"\n', "a.csv, line 1 is separated by semicolons"),
        ("a__csv", "name,text\nNurse\n", "a.csv, line 2 has another number of cells"),
        ("a__csv", "name,text\nA,b\nNurse,x,y\n", "a.csv, line 3 has another number of cells"),
        ("a__csv", "name,text,name\na,b,c\n", "a.csv, line 1: the column “name” stands there twice"),
        ("a__csv", "Name,text,name \na,b,c\n", "a.csv, line 1: the column “name” stands there twice"),
        ("a__csv", "name,mood\na,b\n", "a.csv, line 1: unknown column “mood”. Known: name, text, notes."),
        ("a__csv", "name,notes\na,b\n", "a.csv, line 1: there is no column “text”"),
        ("a__csv", 'name,text\nNurse,"open\n', "Look at its quotation marks."),
        ("a__csv", "name,text\n", "a.csv has no rows."),
        ("a__csv", "", "a.csv is empty. Save it with a first line that names its columns."),
        ("a__csv", "name,text\n,x\n", "a.csv, line 2: name: This must not be empty."),
        ("a__csv", "name,text\nNurse,a\x07b\n", "a.csv, line 2: text: Remove the control character U+0007"),
        ("a__txt", "  \n", "a.txt: text: This must not be empty."),
        ("a__txt", "x" * 20_001, "a.txt: text: This has 20,001 characters; at most 20,000 fit."),
        ("a__jsonl", '{"name": "a", "text": "b"}\n{"name": \n', "a.jsonl, line 2 is not JSON"),
        ("a__jsonl", "[1]\n", "a.jsonl, line 1 is not a JSON object."),
        ("a__jsonl", "[" * 100_000, "a.jsonl, line 1 is not JSON that can be read"),
        ("a__jsonl", '{"name": ' + "9" * 5000 + "}", "a.jsonl, line 1 is not JSON that can be read"),
        ("a__jsonl", '{"name": "a", "text": 7}\n', "a.jsonl, line 1: text is no text"),
        ("a__jsonl", '{"name": "a", "text": "\\ud800"}\n', "Remove the control character U+D800"),
        ("a__pdf", "x", "a.pdf is neither .txt nor .md nor .csv nor .jsonl."),
        ("a__csv", b"x" * 900_001, "900,001 bytes together, a.csv alone 900,001; at most 900,000 fit"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_names_file_line_and_what_to_do(name, data, words):
    (error,) = errors_of(**{name: data})
    assert words in error


def test_all_that_is_wrong_is_named_at_once():
    found = errors_of(a__csv="name,text\n,x\nNurse,\n", b__txt=b"\xff", c__txt="fine")
    assert [error.split(":")[0] for error in found[:2]] == ["a.csv, line 2", "a.csv, line 3"]
    assert found[2].startswith("b.txt is not UTF-8")


def test_a_name_that_stands_there_twice_is_refused_whatever_its_case():
    (error,) = errors_of(Élodie__txt="a", b__csv="name,text\nélodie,b\n")
    assert error == "b.csv, line 2: “élodie” stands in Élodie.txt already. Give it another name."


def test_too_many_rows_or_files_say_the_limit():
    many = "name,text\n" + "".join(f"n{number},x\n" for number in range(1001))
    assert errors_of(a__csv=many) == ["These are 1,001 personas; at most 1,000 are imported at once."]
    with pytest.raises(FileErrors) as refused:
        read_files(NamedFile(f"{number}.txt", b"x") for number in range(201))
    assert refused.value.errors == ["These are 201 files; at most 200 are read at once."]
    assert errors_of() == ["Choose at least one file."]


def test_the_largest_import_comes_back_through_its_form():
    rows = [PersonaRow(f"a.csv, line {n}", f"n{n}", '"\n' * 450) for n in range(900)]
    packed = dump_rows([PersonaRow(r.place, r.name, r.text.strip()) for r in rows])
    assert len(packed.encode()) < 2 * 1024 * 1024
    assert len(load_rows(packed)) == 900


@pytest.mark.parametrize(
    "packed", ["", "{}", "[1]", '[{"place": "a"}]', "[[", "null", '["place"]', "[" * 90_000]
)
def test_a_table_that_does_not_come_back_whole_is_refused(packed):
    with pytest.raises(FileErrors):
        load_rows(packed)


@pytest.fixture
def library(app, write):
    with write() as session:
        personas.add_persona(session, "Élodie", "You paint.", NOON, notes="kept")
        personas.add_persona(session, "Nurse", "You work nights.", NOON)
        personas.add_persona(session, "Clerk", "You count.", NOON, notes="old")


ROWS = [
    PersonaRow("a.csv, line 2", "élodie", "You paint walls."),
    PersonaRow("a.csv, line 3", "NURSE", "You work nights."),
    PersonaRow("a.csv, line 4", "Clerk", "You count.", "new"),
    PersonaRow("a.csv, line 5", "Baker", "You bake.", "pilot"),
]


def test_a_plan_says_what_becomes_of_each_row_and_stores_nothing(session, library):
    plan = persona_import.make_plan(session, ROWS)
    assert [(s.verb, s.number) for s in plan.steps] == [
        (Verb.update, 2), (Verb.same, 1), (Verb.notes, 1), (Verb.create, 1),
    ]  # fmt: skip
    assert session.scalar(select(func.count(PersonaVersion.id))) == 3


def test_an_import_does_what_its_plan_says_and_again_it_does_nothing(session, write, library):
    with write() as writing:
        plan = persona_import.make_plan(writing, ROWS)
        persona_import.import_personas(writing, ROWS, plan.fingerprint, NOON)
    found = {p.name: p for p in session.scalars(select(Persona))}
    assert {name: (p.latest_number, p.notes) for name, p in found.items()} == {
        "Élodie": (2, "kept"), "Nurse": (1, ""), "Clerk": (1, "new"), "Baker": (1, "pilot"),
    }  # fmt: skip
    assert [v.text for v in found["Élodie"].versions] == ["You paint.", "You paint walls."]
    assert persona_import.make_plan(session, ROWS).changes_nothing


def test_what_somebody_changed_meanwhile_is_not_overwritten(session, write, library):
    fingerprint = persona_import.make_plan(session, ROWS).fingerprint
    session.rollback()
    with write() as writing:
        persona = personas.find_persona(writing, "Élodie")
        personas.add_version(writing, persona, "You sculpt.", NOON)
        persona.edit_version += 1
    with pytest.raises(BadInput, match="Somebody has changed one of these"), write() as writing:
        persona_import.import_personas(writing, ROWS, fingerprint, NOON)
    assert personas.find_persona(session, "Baker") is None


def test_a_plan_asks_as_often_for_many_rows_as_for_few(library):
    asked = []
    for count in (3, 300):
        rows = [*ROWS, *(PersonaRow(str(n), f"n{n}", "x") for n in range(count))]
        with reading() as session, counted_queries() as statements:
            persona_import.make_plan(session, rows)
        asked.append(len(statements))
    assert asked == [4, 4]


def test_a_line_of_an_export_is_read_back_to_the_letter():
    text = "=1+1\u2028\n'quoted' \"x\" \U0001f469"
    line = persona_files.json_line({"name": "'=a", "text": text, "notes": "", "uuid": "x", "version": 3})
    assert json.loads(line)["text"] == text
    (row,) = read(a__jsonl=line)
    assert (row.name, row.text) == ("'=a", text)

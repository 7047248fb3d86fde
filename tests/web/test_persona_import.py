"""Personas from files in the browser: a table first, then all of it or nothing; and back out again."""

import csv
import io
import json

import pytest
from sqlalchemy import select

from pdsapp.models import Persona, PersonaVersion
from tests.web.looking import assert_nothing_inline, fields_of, words_of

PAGE = "/admin/persona/import/"
EVIL = '<script>alert(1)</script> {{7*7}} "><img src=x onerror=alert(1)>'


def choose(browser, **files):
    """Sends files given as name=text or bytes; `__` in a name is its dot."""
    return send(browser, [(name.replace("__", "."), data) for name, data in files.items()])


def send(browser, files):
    """What a browser sends of chosen files: pairs of name and text or bytes."""
    body = b""
    for name, data in files:
        head = f'--limit\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body += head.encode() + (data if isinstance(data, bytes) else data.encode()) + b"\r\n"
    return browser.post(
        PAGE, data=body + b"--limit--\r\n", content_type="multipart/form-data; boundary=limit"
    )


def confirm(browser, answer, **values):
    data = fields_of(answer, "rows") | values
    return browser.post(PAGE, data=data, content_type="multipart/form-data", follow_redirects=True)


def names(session):
    session.rollback()
    session.expire_all()
    return session.scalars(select(Persona.name).order_by(Persona.id)).all()


def test_a_table_comes_first_and_nothing_is_done_before_it_is_confirmed(researcher, rows, session):
    answer = choose(
        researcher,
        bus_DRIVER__txt="You drove trams for thirty years.",
        others__csv="name,text\nNurse,You work nights.\n",
    )
    words = words_of(answer)
    assert answer.status_code == 200
    assert "1 create; 1 update as a new version. Twins stay on the version they have." in words
    assert "1 twin has it" in words and "others.csv, line 2" in words
    assert "<del>buses</del><ins>trams</ins>" in answer.text
    assert_nothing_inline(answer)
    assert names(session) == ["Bus driver"]
    done = confirm(researcher, answer)
    assert "Imported: 1 created, 1 updated as a new version." in words_of(done)
    assert names(session) == ["Bus driver", "Nurse"]
    texts = session.scalars(select(PersonaVersion.text).order_by(PersonaVersion.id)).all()
    assert set(texts[1:]) == {"You drove trams for thirty years.", "You work nights."}


def test_one_wrong_row_and_nothing_is_imported(researcher, session):
    answer = choose(researcher, good__txt="Fine.", bad__csv="name,text\nNurse\n", c__txt=b"\xff\xfe")
    assert answer.status_code == 400
    words = words_of(answer)
    assert "bad.csv, line 2 has another number of cells than the first line." in words
    assert "c.txt is not UTF-8 (line 1, byte 1). Save it as UTF-8 and try again." in words
    assert 'name="rows"' not in answer.text and names(session) == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "Choose at least one file."),
        ({"a__txt": "x" * 900_001}, "at most 900,000 fit"),
        ({"a__exe": "x"}, "a.exe is neither .txt nor .md nor .csv nor .jsonl."),
    ],
    ids=["none", "too large", "another kind"],
)
def test_what_cannot_be_read_says_what_to_do(researcher, session, files, words):
    answer = choose(researcher, **files)
    assert answer.status_code == 400 and words in words_of(answer)


def test_what_no_request_may_carry_says_the_limit(researcher):
    answer = choose(researcher, a__txt="x" * 3_000_000)
    assert answer.status_code == 413 and "at most 2 MB" in words_of(answer)


def test_somebody_elses_change_meanwhile_shows_the_table_again(researcher, rows, session):
    answer = choose(researcher, bus_driver__txt="You drove trams.", Nurse__txt="You work nights.")
    page = f"/admin/persona/edit/?id={rows.persona.id}"
    researcher.post(page, data=fields_of(researcher.get(page), "text") | {"text": "You drove taxis."})
    again = confirm(researcher, answer)
    assert again.status_code == 400
    assert "Somebody has changed one of these personas" in words_of(again)
    assert names(session) == ["Bus driver"]
    assert "Imported: 1 created, 1 updated" in words_of(confirm(researcher, again))


@pytest.mark.parametrize("values", [{"rows": "[]"}, {"rows": "x"}, {"fingerprint": "0"}, {"fingerprint": ""}])
def test_a_form_that_was_tampered_with_imports_nothing(researcher, session, values):
    answer = confirm(researcher, choose(researcher, a__txt="Fine."), **values)
    assert answer.status_code == 400 and names(session) == []


def test_the_same_again_offers_nothing_to_import(researcher, rows):
    answer = choose(researcher, Bus_driver__txt="You drove buses for thirty years.")
    assert "1 same, nothing to do" in words_of(answer) and "Import all of it" not in answer.text


def test_hostile_names_texts_and_file_names_are_inert(researcher, session):
    line = json.dumps({"name": EVIL, "text": EVIL, "notes": EVIL})
    answer = send(researcher, [("<img src=x onerror=alert(1)>.jsonl", line)])
    for page in (answer, confirm(researcher, answer), researcher.get("/admin/persona/")):
        assert page.status_code == 200
        assert "<script>alert" not in page.text and "<img" not in page.text
    assert names(session) == [EVIL]
    bad = send(researcher, [("<img src=x>.csv", "")])
    assert bad.status_code == 400 and "<img" not in bad.text


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_export_is_read_back_as_the_same(researcher, session, kind):
    texts = ["=1+1", "@SUM(1)", "-2\n+3", 'A "quoted", text;\nwith lines', "שלום \U0001f469\u200d\U0001f467"]
    for number, text in enumerate(texts):
        researcher.post("/admin/persona/new/", data={"name": f"={number}", "text": text, "notes": text})
    exported = researcher.get(f"/admin/persona/export/{kind}/")
    assert exported.status_code == 200
    if kind == "csv":
        cells = [cell for row in csv.reader(io.StringIO(exported.text)) for cell in row]
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    answer = choose(researcher, **{f"back__{kind}": exported.data})
    assert f"{len(texts)} same, nothing to do" in words_of(answer)


def test_json_lines_are_never_stored_and_other_kinds_are_not_there(researcher, viewer, rows):
    exported = viewer.get("/admin/persona/export/jsonl/")
    (line,) = exported.text.splitlines()
    row = json.loads(line)
    assert (row["name"], row["text"], row["version"], row["twins"]) == (
        "Bus driver", "You drove buses for thirty years.", 1, 1,
    )  # fmt: skip
    assert exported.headers["Cache-Control"] == "no-store"
    assert exported.headers["Content-Disposition"].startswith("attachment;filename=")
    assert researcher.get("/admin/persona/export/xlsx/").status_code == 404


def test_the_way_in_is_on_the_list_for_those_who_may(researcher, viewer):
    assert f'href="{PAGE}"' in researcher.get("/admin/persona/").text
    assert f'href="{PAGE}"' not in viewer.get("/admin/persona/").text
    assert viewer.post(PAGE, data={}).status_code == 403

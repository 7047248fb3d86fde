"""Files that are not what they should be are refused with the line or the limit named."""

import csv
import io
import json
import re

import pytest

from pdsapp.errors import BadInput
from pdsapp.models import Experiment, Persona
from pdsapp.services import bulk, bulk_files, persona_files
from pdsapp.services.bulk_plan import Options, make_plan
from pdsapp.services.fields import clean_line, clean_text
from pdsapp.services.tables import guarded
from tests.conftest import NOON

from .forms import Page
from .inert import problems_of
from .sending import as_block, as_line
from .texts import TEXTS

LINE = "Nurse,You work nights.\n"
HEAD = "name,text\n"
# What is wrong with a file, the file, and what the refusal must say.
FILES = {
    "Latin-1": ((HEAD + "Müller,x\n").encode("latin-1"), ("line 2", "UTF-8")),
    "UTF-16 with its mark": ((HEAD + LINE).encode("utf-16"), ("line 1", "UTF-8")),
    "UTF-16 without": ((HEAD + LINE).encode("utf-16-le"), ("unknown column",)),
    "UTF-32": ((HEAD + LINE).encode("utf-32"), ("line 1", "UTF-8")),
    "semicolons": (b"name;text\nNurse;x, y\n", ("line 1", "semicolons")),
    "semicolons, CR": (b"name;text\rNurse;x, y\r", ("line 1", "semicolons")),
    "tabs": (b"name\ttext\nNurse\tx, y\n", ("line 1", "tabs")),
    "pipes": (b"name|text\nNurse|x\n", ("line 1", "unknown column")),
    "a row too long": ((HEAD + LINE + "a,b,c\n").encode(), ("line 3", "number of cells")),
    "a row too short": ((HEAD + LINE + "a\n").encode(), ("line 3", "number of cells")),
    "twice the same column": (b"name,text,name\na,b,c\n", ("line 1", "twice")),
    "columns that differ in case": (b"name,text,NAME\na,b,c\n", ("line 1",)),
    "a column without a name": (b"name,text,\na,b,c\n", ("line 1", "unknown column")),
    "only a header": (HEAD.encode(), ("no rows",)),
    "nothing": (b"", ("personas.csv",)),
    "only a mark": (b"\xef\xbb\xbf", ("personas.csv",)),
    "only line ends": (b"\r\n\r\n\n", ("personas.csv",)),
    "NUL in a cell": ((HEAD + LINE + "a\x00b,c\n").encode(), ("line 3", "U+0000")),
    "NUL in the header": (b"na\x00me,text\na,b\n", ("line 1", "unknown column")),
    "an open quotation mark": ((HEAD + LINE + 'a,"b\nc,d\n').encode(), ("line 4", "quotation marks")),
    "text behind a quotation mark": ((HEAD + LINE + 'a,"b"c\n').encode(), ("line 3", "quotation marks")),
    "a huge cell": ((HEAD + LINE + "a," + "b" * 200_000 + "\n").encode(), ("line 3", "131,072")),
    "a text too long": ((HEAD + LINE + "a," + "b" * 20_001 + "\n").encode(), ("line 3", "20,000")),
    "a heap of marks": ((HEAD + LINE + "a," + "\u0316\u0301" * 9_000 + "\n").encode(), ("line 3", "marks")),
    "a million columns": (b"name," * 170_000 + b"text\na,b\n", ("line 1", "twice")),
    "too many bytes": (HEAD.encode() + LINE.encode() * 50_000, ("900,000", "bytes")),
    "too many rows": (HEAD.encode() + b"".join(b"n%d,x\n" % n for n in range(1_001)), ("1,000",)),
}
TAKEN = {
    "a byte order mark": b"\xef\xbb\xbf" + (HEAD + LINE).encode(),
    "line ends of Windows": (HEAD + LINE).replace("\n", "\r\n").encode(),
    "line ends of old": (HEAD + LINE).replace("\n", "\r").encode(),
    "no line end": (HEAD + LINE).strip().encode(),
    "quotation marks": b'"name","text"\r\n"Nurse","You work nights."\r\n',
    "columns in another order": b"text,name\nYou work nights.,Nurse\n",
    "capitals and spaces": b" Name , TEXT\nNurse,You work nights.\n",
}


def test_a_file_that_cannot_be_read_is_refused_with_its_line_or_the_limit(administrator, session):
    for name, (data, words) in FILES.items():
        answer = upload(administrator, data, "personas.csv")
        said = " ".join(" ".join(Page("/", answer.text).complaints).split())
        assert answer.status_code == 400, name
        assert [word for word in words if word not in said] == [], (name, said)
    assert session.query(Persona).count() == 0


OF_TWINS = {name: data for name, (data, _) in FILES.items() if not name.startswith("too many")}


def test_a_file_of_twins_that_cannot_be_read_is_refused_alike(rows, write, tmp_path):
    path = tmp_path / "personas.csv"
    for name, data in OF_TWINS.items():
        path.write_bytes(data.replace(b"name,text", b"persona_name,persona", 1))
        with pytest.raises(BadInput) as refused, write() as session:
            experiment = session.get_one(Experiment, rows.experiment.id)
            plan = make_plan(session, experiment, bulk_files.read_path(path), Options(None, True))
            bulk.carry_out(session, experiment, plan, NOON)
        assert "personas.csv" in str(refused.value), name


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN)
def test_a_file_that_only_looks_otherwise_is_read(data):
    [row] = persona_files.read_files([persona_files.NamedFile("a.csv", data)])
    assert (row.name, row.text) == ("Nurse", "You work nights.")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_every_hostile_text_in_a_file_goes_in_to_the_letter_or_is_refused_by_its_line(
    administrator, session, kind
):
    texts = [each.text for each in TEXTS if len(each.text) < 20_000]
    given = [{"name": f"Persona {n}", "text": text, "notes": text[:4000]} for n, text in enumerate(texts)]
    errors = post(administrator, kind, given)
    refused = {n for n, text in enumerate(texts) if is_refused(text)}
    assert 8 < len(refused) < 30
    assert len(errors) == len(set(errors)) == len(refused)
    good = [row for n, row in enumerate(given) if n not in refused]
    assert post(administrator, kind, good) == []
    kept = {row.versions[0].text: row.notes for row in session.query(Persona)}
    assert set(kept) == {as_block(row["text"]) for row in good}


def upload(browser, data, name):
    """The answer to a file, sent as a browser does."""
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return browser.post(
        "/admin/persona/import/", data=head.encode() + data + b"\r\n--x--\r\n",
        content_type="multipart/form-data; boundary=x",
    )  # fmt: skip


def is_refused(text):
    try:
        clean_text(text, "text", persona_files.PERSONA_LIMIT)
        clean_text(text[:4000], "notes", 4000, required=False)
    except BadInput:
        return True
    return False


def post(browser, kind, given):
    """The refusals; without any the import is confirmed."""
    if kind == "csv":
        file = io.StringIO(newline="")
        writer = csv.DictWriter(file, ["name", "text", "notes"])
        writer.writeheader()
        writer.writerows({column: guarded(text) for column, text in row.items()} for row in given)
        data = file.getvalue()
    else:
        data = "".join(json.dumps(row) + "\n" for row in given)
    answer = upload(browser, data.encode(), f"a.{kind}")
    assert problems_of(answer.text, ["zq"]) == []
    page = Page("/", answer.text)
    if answer.status_code == 400:
        return re.findall(r"a\.\w+, line \d+", " ".join(page.complaints))
    fields = {name: page.values[name][0] for name in ("rows", "fingerprint")}
    assert browser.post("/admin/persona/import/", data=fields).status_code == 302
    return []


TAMPERED = (
    '[{"place":"\\ud800","name":"a","text":"b"}]',
    '[{"place":"a\\u202e\\u0000<b>","name":"a","text":"b"}]',
    '[{"place":1,"name":"\\ud800","text":"b"}]',
    '[{"place":{},"name":["a"],"text":"b"}]',
    '[{"\\ud800":1}]',
    "[1]", "{}", "null", "NaN", "1e999", "[" * 100_000, "", "\ud800",
)  # fmt: skip


def test_a_table_to_confirm_that_was_tampered_with_is_refused_or_shown_as_text(administrator):
    for rows in TAMPERED:
        data = {"rows": rows.encode("utf-8", "surrogatepass"), "fingerprint": "x"}
        answer = administrator.post("/admin/persona/import/", data=data)
        assert answer.status_code == 400, rows[:60]
        assert Page("/", answer.text).complaints, rows[:60]
        assert problems_of(answer.text, []) == [], rows[:60]


def test_half_an_emoji_in_json_is_refused_with_its_line(administrator):
    for line in ('{"\\ud800": "a"}', '{"name": "\\ud800", "text": "b"}', '{"a\\u202eb": 1}'):
        answer = upload(administrator, line.encode(), "a\u202e.jsonl")
        assert answer.status_code == 400, line
        assert "line 1" in answer.text, line
        assert problems_of(answer.text, []) == [], line


class Counting(io.BytesIO):
    """Counts how much of it was read."""

    taken = 0

    def read(self, size=-1):
        data = super().read(size)
        self.taken += len(data)
        return data


def test_a_hundred_megabytes_are_refused_with_the_limit(administrator, session):
    stream = Counting(b"x" * 3_000_000)  # only the beginning of what is announced
    answer = administrator.post(
        "/admin/persona/import/", input_stream=stream, content_length=100_000_000,
        content_type="multipart/form-data; boundary=x",
    )  # fmt: skip
    assert answer.status_code == 413
    assert "at most 2 MB in one go" in answer.text
    assert stream.taken < 3_000_000
    assert session.query(Persona).count() == 0


def test_what_one_line_keeps_is_documented_here():
    for each in TEXTS:
        for clean, expected in ((clean_line, as_line), (clean_text, as_block)):
            try:
                kept = clean(each.text, "name", 2_000_000)
            except BadInput as error:
                assert str(error).endswith("."), each.name
                continue
            assert kept == expected(each.text), each.name
            assert clean(kept, "name", 2_000_000) == kept, each.name

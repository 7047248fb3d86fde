"""Hostile cells and names of files in a set-up of many twins: planned, refused or kept to the letter."""

import csv
import io

from sqlalchemy import func, select

from pdsapp.errors import BadInput
from pdsapp.models import DigitalTwin, PersonaVersion, UserProfile
from pdsapp.services.bulk_files import COLUMNS
from pdsapp.services.fields import clean_line, clean_text
from pdsapp.services.tables import guarded

from .forms import Page
from .inert import problems_of
from .sending import as_block, as_line
from .test_reading_back import FORMULA
from .texts import TEXTS

PAGE = "/admin/digitaltwin/bulk/"
MARKS = [each.mark for each in TEXTS if each.mark]
SHORT = [each.text for each in TEXTS if len(each.text) < 20_000]


def upload(browser, rows, parts, source="table"):
    """The page a set-up of these files (field, name, bytes) leads to, as a browser sends them."""
    fields = {"experiment": rows.experiment.id, "source": source, "is_active": "y"}
    heads = [(f'name="{name}"'.encode(), str(value).encode()) for name, value in fields.items()]
    heads += [(f'name="{field}"; filename="'.encode() + name + b'"', data) for field, name, data in parts]
    body = b"".join(
        b"--limit\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + value + b"\r\n"
        for head, value in heads
    )
    answer = browser.post(
        PAGE, data=body + b"--limit--\r\n", content_type="multipart/form-data; boundary=limit",
        follow_redirects=True,
    )  # fmt: skip
    assert answer.status_code in (200, 400)
    assert problems_of(answer.text, MARKS) == []
    return answer


def table(columns, given):
    """A CSV file of these rows, as a spreadsheet that knows of formulas writes it."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows([guarded(cell) for cell in row] for row in given)
    return file.getvalue().encode()


def is_refused(text, is_line):
    try:
        clean_line(text, "", 80) if is_line else clean_text(text, "", 20_000)
    except BadInput:
        return True
    return False


def test_a_hostile_cell_in_any_column_is_planned_or_refused_by_its_row(administrator, rows, session):
    for column in COLUMNS:
        columns = ["username", "persona_name", *({column} - {"username", "persona_name"})]
        plain = {"username": "row_{}", "persona_name": "Bus driver"}
        given = [[(plain | {column: text})[each].replace("row_{}", f"row_{n}") for each in columns]
                 for n, text in enumerate(SHORT)]  # fmt: skip
        answer = upload(administrator, rows, [("table", b"twins.csv", table(columns, given))])
        assert answer.status_code == 200, column
        errors = [link for link in Page("/", answer.text).links if link.endswith("errors.csv")]
        assert len(errors) == 1, column
        found = list(csv.reader(io.StringIO(administrator.get(errors[0]).text, newline="")))[1:]
        assert all(place and words for place, _, _, words in found), column
        assert [cell for row in found for cell in row if cell.startswith(FORMULA)] == [], column
    assert session.scalar(select(func.count(DigitalTwin.id))) == 1


def test_hostile_texts_and_names_in_cells_are_kept_to_the_letter(administrator, rows, session):
    given = [
        (f"row_{n}", f"Persona {n}", text, text, text)
        for n, text in enumerate(SHORT)
        if len(text) <= 400 and not is_refused(text, is_line=True)
    ]
    assert len(given) > 40
    columns = ("username", "persona_name", "persona", "display_name", "bio")
    answer = upload(administrator, rows, [("table", b"twins.csv", table(columns, given))])
    page = Page(PAGE, answer.text)
    form = next(each for each in page.forms if each.action.endswith("/set-up/"))
    done = administrator.post(form.action, data=form.values(), follow_redirects=True)
    assert f"{len(given)} twins set up" in done.text, page.complaints
    profiles = {row.username: row for row in session.scalars(select(UserProfile))}
    texts = set(session.scalars(select(PersonaVersion.text)))
    for username, _, text, _, _ in given:
        assert profiles[username].display_name == as_line(text)
        assert profiles[username].bio == as_block(text)
        assert as_block(text) in texts


def names(kind):
    """What a browser makes of each text as the name of a file: no line ends, no quotation marks."""
    for each in TEXTS:
        if len(each.sent) < 4_000:
            sent = each.sent.replace(b"\r", b"%0D").replace(b"\n", b"%0A")
            yield each.name, sent.replace(b'"', b"%22") + kind


def test_a_hostile_name_of_a_table_is_shown_as_a_text_or_refused(administrator, rows, session):
    for number, (which, name) in enumerate(names(b".csv")):
        data = b"persona_name\nBus driver\nNobody\n" if number % 2 else b"persona_name\n\xff\n"
        answer = upload(administrator, rows, [("table", name, data)])
        if answer.status_code == 400:
            assert any(words.strip() for words in Page("/", answer.text).complaints), which
    assert session.scalar(select(func.count(DigitalTwin.id))) == 1


def test_hostile_names_of_texts_become_names_of_personas_or_are_refused(administrator, rows, session):
    for which, name in list(names(b".txt"))[::6]:
        answer = upload(administrator, rows, [("texts", name, b"You read a lot.")], "texts")
        if answer.status_code == 400:
            assert any(words.strip() for words in Page("/", answer.text).complaints), which
    assert session.scalar(select(func.count(DigitalTwin.id))) == 1

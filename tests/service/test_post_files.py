"""Reading posts from files nobody has written with this product in mind."""

import json

import pytest

from pdsapp.errors import BadInput
from pdsapp.services import post_files
from pdsapp.services.persona_files import NamedFile


def read(text, name="talk.csv"):
    return post_files.read_file(NamedFile(name, text if isinstance(text, bytes) else text.encode()))


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        ("", "talk.csv", "talk.csv is empty"),
        ("author,text\n", "talk.csv", "talk.csv has no rows"),
        ("author;text\nada;Hello.\n", "talk.csv", "separated by semicolons. Save it with commas"),
        ("author\ttext\nada\tHello.\n", "talk.csv", "separated by tabs"),
        ("author,text\nada,Hello.\n".encode("utf-16"), "talk.csv", "talk.csv is not UTF-8 (line 1, byte 1)"),
        ("author,text\nada,Hello.\n".encode("utf-16-le"), "talk.csv", "unknown column"),
        ("author,text\nada,caf\xe9\n".encode("latin-1"), "talk.csv", "not UTF-8 (line 2"),
        ("author,text\n" + "ada," + "x" * 1_000_000 + "\n", "talk.csv", "line 2: a cell has more than"),
        ('author,text\nada,"open\n', "talk.csv", "Look at its quotation marks"),
        ("author,words\nada,Hello.\n", "talk.csv", "unknown column “words”"),
        ("author,Author,text\nada,ada,Hello.\n", "talk.csv", "“author” stands there twice"),
        ("text\nHello.\n", "talk.csv", "there is no column “author”"),
        ("PK\x03\x04", "talk.xlsx", "talk.xlsx is neither .csv nor .jsonl"),
    ],
)
def test_files_that_are_none_are_refused_with_what_to_do(data, name, words):
    with pytest.raises(BadInput) as refused:
        read(data, name)
    assert words in str(refused.value)


def test_so_many_rows_and_no_more():
    row = "ada,Hello.\n"
    assert len(read("author,text\n" + row * 20_000).rows) == 20_000
    with pytest.raises(BadInput, match=r"more than 20,000 rows; at most 20,000 posts are imported at once"):
        read("author,text\n" + row * 20_001)


def test_so_many_bytes_and_no_more():
    with pytest.raises(BadInput, match="at most 10,000,000"):
        read("author,text\n" + "x" * 10_000_000)


def test_a_file_of_nothing_but_mistakes_is_read_to_no_end():
    with pytest.raises(BadInput, match="more than 100,000 mistakes"):
        read("x\n" * 100_001, "talk.jsonl")


def test_formulas_are_texts_and_an_exports_guard_is_taken_off():
    sheet = read("author,text\nada,=1+1\nada,'=1+1\nada,<b>bold</b>\n'@bob,'quoted'\n")
    assert [row.text for row in sheet.rows] == ["=1+1", "=1+1", "<b>bold</b>", "'quoted'"]
    assert sheet.rows[3].author == "@bob"


def test_an_export_of_a_feed_is_read_but_for_hidden_posts():
    sheet = read(
        "id,parent,author,text,time,revision,visibility,kind,is_stand_in,is_rehearsal\n"
        "u1,,ada,Hello.,2026-11-20T08:00:00+00:00,1,visible,person,False,False\n"
        "u2,u1,ada,Gone.,2026-11-20T08:01:00+00:00,1,hidden,person,False,False\n"
    )
    assert [(row.id, row.parent, row.author, row.time) for row in sheet.rows] == [
        ("u1", "", "ada", "2026-11-20T08:00:00+00:00")
    ]
    assert [(each.place, each.column) for each in sheet.errors] == [("line 3", "visibility")]


def test_json_lines_have_numbers_for_ids_and_texts_for_the_rest():
    lines = [
        {"author": "ada", "text": "Hello.", "id": 1},
        {"author": "bob", "text": "Reply.", "parent": 1, "time": None},
        {"author": ["ada"], "text": True, "time": 20261120},
        {"author": "ada", "words": "Hello."},
        {"author": "ada"},
    ]
    text = "\n".join([*map(json.dumps, lines), "[1]", "{", '{"a":' * 100_000])
    sheet = read(text, "talk.jsonl")
    assert [(row.id, row.parent, row.time) for row in sheet.rows] == [("1", "", ""), ("", "1", "")]
    assert [(each.place, each.column) for each in sheet.errors] == [
        ("line 3", "author"), ("line 3", "text"), ("line 3", "time"), ("line 4", ""), ("line 5", ""),
        ("line 6", ""), ("line 7", ""), ("line 8", ""),
    ]  # fmt: skip
    assert sheet.errors[3].message.startswith("Unknown column “words”")
    assert sheet.errors[4].message.startswith("There is no column “text”")


def test_a_row_is_named_by_the_line_it_ends_on():
    sheet = read('author,text\nada,"Two\nlines."\nada,One.\n')
    assert [row.place for row in sheet.rows] == ["line 3", "line 4"]


@pytest.mark.parametrize(
    ("text", "name"),
    [("author,text\nada,Hello.\n", "pasted.csv"), (' {"author": "ada", "text": "Hello."}', "pasted.jsonl")],
)
def test_pasted_rows_are_csv_or_json_lines(text, name):
    file = post_files.pasted(text)
    assert file.name == name and read(file.data, file.name).rows[0].text == "Hello."


def test_what_a_form_brings_back_is_the_file_or_nothing():
    file = NamedFile("talk.csv", b"author,text\r\nada,\xff\x00 Hello.\r\n")
    packed = post_files.pack(file)
    assert packed.isascii() and post_files.unpack("talk.csv", packed) == file
    bomb = post_files.pack(NamedFile("talk.csv", bytes(50_000_000)))
    for text in (packed[:-8], "", "ä", "!!!!", "aGVsbG8=", bomb):
        with pytest.raises(BadInput, match="did not come back whole"):
            post_files.unpack("talk.csv", text)

"""Reading twins to be set up from CSV, JSON lines or persona texts."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ..domain.quoting import quote
from ..errors import BadInput
from .persona_files import TEXT_SUFFIXES, NamedFile, own_name
from .tables import Complain, csv_rows, decode, json_rows, unguarded

FILE_LIMIT = 20_000_000  # bytes, all files together
ROW_LIMIT = 100_000
FIELD = "personas"
TABLE_KINDS = (".csv", ".jsonl", ".ndjson")
KINDS = (*TABLE_KINDS, *TEXT_SUFFIXES)


@dataclass(frozen=True)
class Row:
    """One twin as a file describes it; empty fields take the defaults. `place` names it in messages.

    `pattern` makes up a username where there is none: with {n} in it the first that is free of 1, 2, …;
    without, the name itself is tried first.
    """

    place: str
    username: str = ""
    persona_name: str = ""
    persona: str = ""
    display_name: str = ""
    bio: str = ""
    token: str = ""
    llm_url: str = ""
    llm_model: str = ""
    parameters: str = ""
    tags: str = ""
    pattern: str = ""


@dataclass(frozen=True)
class Column:
    """What a column means, for people who fill it."""

    name: str
    meaning: str
    example: str


COLUMNS_EXPLAINED = (
    Column(
        "username",
        "Who posts, once per experiment. Of a twin that is there: what differs is updated. Empty: made up "
        "from the persona's name.",
        "maya_reads",
    ),
    Column(
        "persona_name", "A persona of the library, at its latest version; or the name of the text.", "Maya"
    ),
    Column(
        "persona",
        "Its text. Kept under its name in the library: as a new persona, or a new version if it differs.",
        "You read a lot and write little.",
    ),
    Column("display_name", "The name beside the posts. Empty: the username.", "Maya Lindqvist"),
    Column("bio", "What others read about them.", "Library person. Tea, trams, long novels."),
    Column("token", "The API token it is written by, by name. Empty: the one chosen below.", "Lab vLLM"),
    Column("llm_url", "An endpoint of its own.", "http://127.0.0.1:11434/v1"),
    Column("llm_model", "A model of its own. Empty: the token's or the platform's.", "llama3.1:8b"),
    Column("parameters", "Before the token's.", "temperature=0.8, max_tokens=300"),
    Column("tags", "Words to find it again, with commas between.", "pilot, section 2"),
)
COLUMNS = tuple(column.name for column in COLUMNS_EXPLAINED)
assert {*COLUMNS, "place", "pattern"} == {each.name for each in fields(Row)}


@dataclass(frozen=True)
class CellError:
    """What is wrong with a row: where, in which column (empty: the whole row), and what to do."""

    place: str
    column: str
    message: str
    value: str = ""


@dataclass(frozen=True)
class Sheet:
    """What was read: rows in their order, and what could not be read as a row."""

    rows: tuple[Row, ...]
    errors: tuple[CellError, ...] = ()

    def pack(self) -> str:
        """The sheet as plain ASCII text, for `unpack`."""
        return json.dumps([[astuple(row) for row in self.rows], [astuple(error) for error in self.errors]])

    @classmethod
    def unpack(cls, text: str) -> "Sheet":
        """The sheet of `pack`."""
        rows, errors = json.loads(text)
        return cls(tuple(Row(*row) for row in rows), tuple(CellError(*error) for error in errors))


def read_path(path: Path) -> Sheet:
    """The rows of a .csv or .jsonl file, or one for each .txt and .md file of a folder.

    Raises BadInput naming the file for what cannot be read.
    """
    try:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in TEXT_SUFFIXES)
            if not found:
                raise BadInput(f"{path} holds no .txt or .md file.", FIELD)
            return read_files([NamedFile(p.name, p.read_bytes()) for p in found])
        if path.stat().st_size > FILE_LIMIT:
            raise _too_large(path.stat().st_size)
        if path.suffix.lower() not in TABLE_KINDS:
            raise BadInput(
                f"{path.name} is neither .csv nor .jsonl nor a folder of .txt or .md files.", FIELD
            )
        return read_files([NamedFile(path.name, path.read_bytes())])
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", FIELD) from None


def read_files(files: Sequence[NamedFile]) -> Sheet:
    """The rows of all files together, in their order. Raises BadInput for files that are none of ours."""
    if not files:
        raise BadInput("Choose at least one file.", FIELD)
    if (size := sum(len(file.data) for file in files)) > FILE_LIMIT:
        raise _too_large(size)
    rows: list[Row] = []
    errors: list[CellError] = []
    for file in files:
        _read(NamedFile(own_name(file.name), file.data), rows, errors)
        if len(rows) > ROW_LIMIT:
            raise BadInput(f"There are more than {ROW_LIMIT:,} rows. Use several files.", FIELD)
    return Sheet(tuple(rows), tuple(errors))


def template() -> str:
    """A CSV file to fill: the columns and an example."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerow(
        column.example if column.name not in ("token", "llm_url") else "" for column in COLUMNS_EXPLAINED
    )
    return text.getvalue()


def _too_large(size: int) -> BadInput:
    return BadInput(
        f"That is {size:,} bytes; at most {FILE_LIMIT:,} ({FILE_LIMIT // 1_000_000} MB) are read at once. "
        "Use several files, one after the other.",
        FIELD,
    )


def _read(file: NamedFile, rows: list[Row], errors: list[CellError]) -> None:
    stem, dot, suffix = file.name.rpartition(".")
    kind = dot + suffix.lower()
    if kind not in KINDS:
        raise BadInput(f"{file.name} is neither .csv nor .jsonl nor .txt nor .md.", FIELD)
    text = decode(file.data, file.name, FIELD)
    if kind in TEXT_SUFFIXES:
        rows.append(Row(place=file.name, persona=text, persona_name=stem.replace("_", " ")))
        return

    def complain(place: str, words: str) -> None:
        errors.append(CellError(place, "", words))

    before = len(rows) + len(errors)
    rows += (_read_csv if kind == ".csv" else _read_json_lines)(text, file.name, complain)
    if len(rows) + len(errors) == before:
        raise BadInput(f"{file.name} has no rows.", FIELD)


def _read_csv(text: str, name: str, complain: Complain) -> Iterator[Row]:
    for place, cells in csv_rows(text, name, FIELD, _check_columns, complain):
        yield Row(place=place, **{column: unguarded(cell) for column, cell in cells.items()})


def _read_json_lines(text: str, name: str, complain: Complain) -> Iterator[Row]:
    for place, cells in json_rows(text, name, FIELD, complain):
        _check_columns(list(cells), place)
        texts = {key: "" if value is None else value for key, value in cells.items()}
        if isinstance(texts.get("tags"), list):
            texts["tags"] = ",".join(map(str, texts["tags"]))
        if isinstance(texts.get("parameters"), dict):
            texts["parameters"] = json.dumps(texts["parameters"])
        yield Row(place=place, **{key: str(value) for key, value in texts.items()})


def _check_columns(found: list[str], place: str) -> None:
    unknown = [column for column in found if column not in COLUMNS]
    if unknown:
        raise BadInput(f"{place}: unknown column {quote(unknown[0])}. Known: {', '.join(COLUMNS)}.", FIELD)
    if not {"persona", "persona_name", "username"} & set(found):
        raise BadInput(
            f"{place}: there is neither a persona nor a persona_name nor a username column.", FIELD
        )

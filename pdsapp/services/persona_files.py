"""Personas in files: reading text files, CSV and JSON lines somebody sends, and writing JSON lines."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..domain.quoting import one_line
from ..errors import BadInput
from .fields import PERSONA_LIMIT, clean_line, clean_text
from .tables import check_columns, column_name, csv_rows, decode, json_rows, unguarded

TOGETHER_LIMIT = 900_000  # bytes; a request may have 2 MiB, and the table to confirm quotes what it holds
ROW_LIMIT = 1000
FILE_LIMIT = 200
MOST_ERRORS = 50
TEXT_SUFFIXES = (".txt", ".md")
NEEDED = ("name", "text")
COLUMNS = (*NEEDED, "notes")
# What an export has beside them; an import leaves it aside.
LEFT_ASIDE = (
    "uuid", "version", "twins", "used by", "archived", "added", "is_archived", "created_at",
)  # fmt: skip


@dataclass(frozen=True)
class NamedFile:
    """A file somebody chose: its name, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True)
class PersonaRow:
    """One persona as a file describes it, checked. `notes` None leaves those that are there."""

    place: str
    name: str
    text: str
    notes: str | None = None


class FileErrors(BadInput):
    """Files that cannot be imported; nothing was changed. `errors` has a sentence for each place."""

    def __init__(self, errors: list[str]):
        super().__init__(f"Nothing was imported: {len(errors):,} to be mended.", "files")
        self.errors = errors


def read_files(files: Iterable[NamedFile]) -> list[PersonaRow]:
    """The personas of all files together, in their order. Raises FileErrors naming file and line."""
    files = [NamedFile(own_name(file.name), file.data) for file in files if file.name]
    if not files:
        raise FileErrors(["Choose at least one file."])
    if len(files) > FILE_LIMIT:
        raise FileErrors([f"These are {len(files):,} files; at most {FILE_LIMIT} are read at once."])
    size = sum(len(file.data) for file in files)
    if size > TOGETHER_LIMIT:
        largest = max(files, key=lambda file: len(file.data))
        raise FileErrors(
            [
                f"The files have {size:,} bytes together, {largest.name} alone {len(largest.data):,}; at "
                f"most {TOGETHER_LIMIT:,} fit. Import them in several goes."
            ]
        )
    rows, errors = [], []
    for file in files:
        _read_file(file, rows, errors)
    return _checked(rows, errors)


def dump_rows(rows: Iterable[PersonaRow]) -> str:
    """The rows as one line of text, for a form that is to bring them back."""
    return json.dumps([asdict(row) for row in rows], ensure_ascii=False, separators=(",", ":"))


def load_rows(text: str) -> list[PersonaRow]:
    """The rows of `dump_rows`, checked like a file's. Raises FileErrors on anything else."""
    try:
        rows = [_row(one_line(str(each["place"]), 300), each) for each in json.loads(text)]
    except BadInput as error:
        raise FileErrors([str(error)]) from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise FileErrors(["The table did not come back whole. Choose the files again."]) from None
    return _checked(rows, [] if rows else ["The table is empty. Choose the files again."])


def json_line(row: dict[str, Any]) -> str:
    """One persona as a line of JSON, which no reader takes for several: U+2028 ends a line for some."""
    line = json.dumps(row, ensure_ascii=False)
    return line.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029") + "\n"


def own_name(name: str) -> str:
    """The file's name without its folders, as it can be shown."""
    shown = name.replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in shown if character.isprintable())[-120:] or "a file"


def _read_file(file: NamedFile, rows: list[PersonaRow], errors: list[str]) -> None:
    stem, dot, suffix = file.name.rpartition(".")
    kind = dot + suffix.lower()
    readers = {".csv": _read_csv, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines}
    before = len(rows), len(errors)
    try:
        text = decode(file.data, file.name, "files")
        if kind in TEXT_SUFFIXES:
            rows.append(_row(file.name, {"name": stem.replace("_", " "), "text": text}))
        elif kind in readers:
            for place, cells in readers[kind](text, file.name):
                _collect(place, cells, rows, errors)
        else:
            errors.append(f"{file.name} is neither .txt nor .md nor .csv nor .jsonl.")
    except BadInput as error:
        errors.append(str(error))
    if (len(rows), len(errors)) == before:
        errors.append(f"{file.name} has no rows.")


def _collect(place: str, cells: dict[str, Any], rows: list[PersonaRow], errors: list[str]) -> None:
    try:
        rows.append(_row(place, cells))
    except BadInput as error:
        errors.append(str(error))


def _read_csv(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, cells in csv_rows(text, name, "files", _check_columns):
        yield place, {column_name(key): unguarded(value) for key, value in cells.items()}


def _read_json_lines(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, cells in json_rows(text, name, "files"):
        _check_columns(list(cells), place)
        yield place, {column_name(key): value for key, value in cells.items()}


def _check_columns(found: list[str], place: str) -> None:
    check_columns(found, place, COLUMNS, LEFT_ASIDE, NEEDED, "files")


def _row(place: str, cells: dict[str, Any]) -> PersonaRow:
    """The row, checked. Raises BadInput naming place and column."""
    values = {name: cells.get(name) for name in COLUMNS}
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            raise BadInput(f"{place}: {name} is no text. Put it in quotation marks.", "files")
    try:
        name = clean_line(values["name"], "name", 120)
        text = clean_text(values["text"], "text", PERSONA_LIMIT)
        notes = clean_text(values["notes"], "notes", 4000, required=False)
    except BadInput as error:
        raise BadInput(f"{place}: {error.field}: {error}", "files") from None
    return PersonaRow(place, name, text, notes or None)


def _checked(rows: list[PersonaRow], errors: list[str]) -> list[PersonaRow]:
    if len(rows) > ROW_LIMIT:
        errors.append(f"These are {len(rows):,} personas; at most {ROW_LIMIT:,} are imported at once.")
    seen: dict[str, str] = {}
    for row in rows:
        key = row.name.casefold()
        if key in seen:
            errors.append(f"{row.place}: “{row.name}” stands in {seen[key]} already. Give it another name.")
        seen.setdefault(key, row.place)
    if errors:
        more = len(errors) - MOST_ERRORS
        raise FileErrors(errors[:MOST_ERRORS] + ([f"And {more:,} more."] if more > 0 else []))
    return rows

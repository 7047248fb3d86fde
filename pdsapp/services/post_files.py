"""Reading posts to be imported from CSV or JSON lines, out of a file or pasted."""

import base64
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..domain.quoting import one_line, quote
from ..errors import BadInput
from .bulk_files import CellError, Column
from .persona_files import NamedFile, own_name
from .tables import check_columns, column_name, csv_rows, decode, json_rows, unguarded

FILE_LIMIT = 10_000_000  # bytes
ROW_LIMIT = 20_000
MOST_ERRORS = 100_000
FIELD = "file"
KINDS = (".csv", ".jsonl", ".ndjson")
COLUMNS_EXPLAINED = (
    Column(
        "author", "Who wrote it: a person of the experiment, by username, with or without @.", "ada_reads"
    ),
    Column("text", "What they wrote.", "The early train was on time."),
    Column(
        "time",
        "When, in ISO 8601; without an offset in the experiment's zone. Empty: when it is imported.",
        "2026-11-21T08:30",
    ),
    Column(
        "parent",
        "For a reply: the id of a row above it, or the UUID of a post that is in the feed.",
        "p1",
    ),
    Column("id", "What rows below call this one when they reply to it.", "p2"),
)
COLUMNS = tuple(column.name for column in COLUMNS_EXPLAINED)
NEEDED = ("author", "text")
# What an export of a feed has beside them.
VISIBILITY = "visibility"
LEFT_ASIDE = ("revision", VISIBILITY, "kind", "is_stand_in", "is_rehearsal")
NOT_WHOLE = "The file did not come back whole. Choose it again."

Mend = Callable[[CellError], None]


@dataclass(frozen=True)
class PostRow:
    """One post as a file describes it, not checked yet. `place` names its line."""

    place: str
    author: str
    text: str
    time: str = ""
    parent: str = ""
    id: str = ""


@dataclass(frozen=True)
class PostSheet:
    """What was read: rows in their order, and what could not be read as one.

    `content_hash` is that of the rows' cells: the same posts have the same one however they were saved.
    """

    name: str
    rows: tuple[PostRow, ...]
    errors: tuple[CellError, ...]
    content_hash: str


def read_path(path: Path) -> PostSheet:
    """The posts of a file on this machine. Raises BadInput for what cannot be read."""
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise _too_large(path.stat().st_size)
        return read_file(NamedFile(path.name, path.read_bytes()))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", FIELD) from None


def pasted(text: str) -> NamedFile:
    """Pasted rows as a file: JSON lines where they begin like an object, else CSV."""
    suffix = "jsonl" if text.lstrip("\ufeff \t\r\n").startswith("{") else "csv"
    return NamedFile(f"pasted.{suffix}", text.encode())


def read_file(file: NamedFile) -> PostSheet:
    """The posts of a file. Raises BadInput for one that is none of ours, is too long or is too large."""
    name = own_name(file.name)
    kind = f".{name.rpartition('.')[2].lower()}"
    if kind not in KINDS:
        raise BadInput(f"{name} is neither .csv nor .jsonl. Save it as one of them.", FIELD)
    if len(file.data) > FILE_LIMIT:
        raise _too_large(len(file.data))
    text = decode(file.data, name, FIELD)
    rows: list[PostRow] = []
    errors: list[CellError] = []

    def mend(error: CellError) -> None:
        errors.append(error)
        if len(errors) > MOST_ERRORS:
            raise BadInput(f"{name} has more than {MOST_ERRORS:,} mistakes. Is it the right file?", FIELD)

    for row in (_read_csv if kind == ".csv" else _read_json_lines)(text, name, mend):
        rows.append(row)
        if len(rows) > ROW_LIMIT:
            raise BadInput(
                f"{name} has more than {ROW_LIMIT:,} rows; at most {ROW_LIMIT:,} posts are imported at once. "
                "Use several files, one after the other.",
                FIELD,
            )
    if not rows and not errors:
        raise BadInput(f"{name} has no rows. Write one post a line below the names of the columns.", FIELD)
    return PostSheet(name, tuple(rows), tuple(errors), _content_hash(rows))


def pack(file: NamedFile) -> str:
    """The file's bytes as plain ASCII text, for `unpack`."""
    return base64.b64encode(zlib.compress(file.data)).decode()


def unpack(name: str, text: str) -> NamedFile:
    """The file of `pack`. Raises BadInput on anything else."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(base64.b64decode(text, validate=True), FILE_LIMIT + 1)
    except (ValueError, zlib.error):
        raise BadInput(NOT_WHOLE, FIELD) from None
    if not unpacker.eof:
        raise BadInput(NOT_WHOLE, FIELD)
    return NamedFile(name, data)


def _too_large(size: int) -> BadInput:
    return BadInput(
        f"That is {size:,} bytes; at most {FILE_LIMIT:,} ({FILE_LIMIT // 1_000_000} MB) are read at once. "
        "Use several files, one after the other.",
        FIELD,
    )


def _content_hash(rows: list[PostRow]) -> str:
    cells = [astuple(replace(row, place="")) for row in rows]
    return sha256(json.dumps(cells).encode()).hexdigest()


def _read_csv(text: str, name: str, mend: Mend) -> Iterator[PostRow]:
    def complain(place: str, words: str) -> None:
        mend(CellError(_line(place), "", words))

    for place, cells in csv_rows(text, name, FIELD, _check_columns, complain):
        values = {column_name(key): unguarded(cell) for key, cell in cells.items()}
        yield from _row(_line(place), values, mend)


def _read_json_lines(text: str, name: str, mend: Mend) -> Iterator[PostRow]:
    def complain(place: str, words: str) -> None:
        mend(CellError(_line(place), "", words))

    for place, cells in json_rows(text, name, FIELD, complain):
        line = _line(place)
        try:
            _check_columns(list(cells), line)
        except BadInput as error:
            words = str(error).removeprefix(f"{line}: ")
            complain(place, words[0].upper() + words[1:])
            continue
        values = {column_name(key): value for key, value in cells.items()}
        wrong = [key for key in COLUMNS if not _is_text(key, values.get(key))]
        for key in wrong:
            words = f"This is no text. Put it in quotation marks, or leave out {quote(key)}."
            mend(CellError(line, key, words, one_line(str(values[key]), 200)))
        if not wrong:
            texts = {key: "" if value is None else str(value) for key, value in values.items()}
            yield from _row(line, texts, mend)


def _is_text(column: str, value: Any) -> bool:
    """Whether a value of JSON can stand for a cell: ids are often numbers."""
    is_number = isinstance(value, int) and not isinstance(value, bool) and column in ("id", "parent")
    return value is None or isinstance(value, str) or is_number


def _row(line: str, values: dict[str, str], mend: Mend) -> Iterator[PostRow]:
    """The row, unless it says of itself that nobody was to see it."""
    visibility = values.get(VISIBILITY, "").strip().lower()
    if visibility not in ("", "visible"):
        words = "This post was hidden where it comes from. Leave the row out, or write visible."
        mend(CellError(line, VISIBILITY, words, one_line(visibility, 200)))
        return
    yield PostRow(line, **{name: values.get(name, "") for name in COLUMNS})


def _line(place: str) -> str:
    """ "line 7" of "posts.csv, line 7": there is one file."""
    return place.rpartition(", ")[2]


def _check_columns(found: list[str], place: str) -> None:
    check_columns(found, place, COLUMNS, LEFT_ASIDE, NEEDED, FIELD)

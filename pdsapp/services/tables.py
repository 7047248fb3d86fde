"""Reading files people send: UTF-8, then CSV or JSON lines, every refusal naming file and line."""

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from ..domain.quoting import quote
from ..errors import BadInput

CheckColumns = Callable[[list[str], str], None]
Complain = Callable[[str, str], None]
# What a spreadsheet takes for the beginning of a formula; the wide ones where it is set to Japanese.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def guarded(text: str) -> str:
    """A cell's text as a spreadsheet may read it: a quotation mark before what it would compute."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def unguarded(text: str) -> str:
    """The text of a cell that `guarded` wrote."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text


def decode(data: bytes, name: str, field: str) -> str:
    """The text of a UTF-8 file, with or without a byte order mark. Raises BadInput."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        place = f"line {line:,}, byte {error.start + 1:,}"
        raise BadInput(f"{name} is not UTF-8 ({place}). Save it as UTF-8 and try again.", field) from None


def csv_rows(
    text: str, name: str, field: str, check: CheckColumns, complain: Complain | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """(place, cells by column) of each row. `check(columns, place)` raises BadInput on those not known.

    A row's place is the line it ends on: cells may hold line breaks. Raises BadInput; rows with another
    number of cells are left out instead where `complain(place, sentence)` is given.
    """
    if not text.strip():
        raise BadInput(f"{name} is empty. Save it with a first line that names its columns.", field)
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    for separator, words in ((";", "semicolons"), ("\t", "tabs")):
        if separator in first and "," not in first:
            raise BadInput(f"{name}, line 1 is separated by {words}. Save it with commas.", field)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip() for column in reader.fieldnames or []]
        check(header, f"{name}, line 1")
        if len(set(header)) != len(header):
            raise BadInput(f"{name}, line 1: a column stands there twice.", field)
        reader.fieldnames = header
        for cells in reader:
            place = f"{name}, line {reader.line_num}"
            if None in cells or None in cells.values():
                _refuse(place, "has another number of cells than the first line.", field, complain)
                continue
            yield place, cells
    except csv.Error as error:
        line = max(reader.reader.line_num, 1)  # that of DictReader is the last good row's
        problem = (
            f"a cell has more than {csv.field_size_limit():,} characters" if "limit" in str(error) else error
        )
        raise BadInput(f"{name}, line {line}: {problem}. Look at its quotation marks.", field) from None


def column_name(name: str) -> str:
    """A column as it is compared: without white space around it, in lower case."""
    return name.strip().lower()


def check_columns(
    found: Iterable[str],
    place: str,
    known: Sequence[str],
    left_aside: Collection[str],
    needed: Sequence[str],
    field: str,
) -> None:
    """Returns for columns known or left aside, each once, with all that are needed. Raises BadInput."""
    names = [column_name(column) for column in found]
    for column in names:
        if column not in known and column not in left_aside:
            raise BadInput(f"{place}: unknown column {quote(column)}. Known: {', '.join(known)}.", field)
        if names.count(column) > 1:
            raise BadInput(f"{place}: the column “{column}” stands there twice.", field)
    for column in needed:
        if column not in names:
            words = f"there is no column “{column}”. It needs {' and '.join(needed)}."
            raise BadInput(f"{place}: {words}", field)


def json_rows(
    text: str, name: str, field: str, complain: Complain | None = None
) -> Iterator[tuple[str, dict]]:
    """(place, object) of each line that is not empty. Raises BadInput; lines that are no object are left
    out instead where `complain(place, sentence)` is given."""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            cells = json.loads(line)
        except json.JSONDecodeError as error:
            _refuse(place, f"is not JSON: {error}.", field, complain)
            continue
        except (ValueError, RecursionError):
            _refuse(
                place, "is not JSON that can be read: too deep, or with too long a number.", field, complain
            )
            continue
        if not isinstance(cells, dict):
            _refuse(place, "is not a JSON object.", field, complain)
            continue
        yield place, cells


def _refuse(place: str, words: str, field: str, complain: Complain | None) -> None:
    if complain is None:
        raise BadInput(f"{place} {words}", field) from None
    complain(place, f"This row {words}")

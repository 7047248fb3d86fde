"""Reading twins to be set up from CSV, JSON lines or a folder of persona texts."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from ..domain.quoting import quote
from ..errors import BadInput
from .tables import csv_rows, decode, json_rows

FILE_LIMIT = 20_000_000
ROW_LIMIT = 100_000
TEXT_SUFFIXES = (".txt", ".md")


@dataclass(frozen=True)
class Row:
    """One twin as a file describes it; empty fields take the defaults. `place` names it in messages."""

    place: str
    persona: str = ""
    persona_name: str = ""
    username: str = ""
    display_name: str = ""
    bio: str = ""
    token: str = ""
    llm_url: str = ""
    llm_model: str = ""
    parameters: str = ""
    tags: str = ""


COLUMNS = tuple(field.name for field in fields(Row) if field.name != "place")


def read_rows(path: Path) -> list[Row]:
    """The rows of a .csv or .jsonl file, or one for each .txt and .md file of a folder.

    Raises BadInput naming the file and line for what cannot be read.
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.stat().st_size > FILE_LIMIT:
            raise BadInput(f"{path.name} is larger than {FILE_LIMIT // 1_000_000} MB.", "personas")
        text = decode(path.read_bytes(), path.name, "personas")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "personas") from None
    readers = {".csv": _read_csv, ".jsonl": _read_json_lines}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadInput(
            f"{path.name} is neither .csv nor .jsonl nor a folder of .txt or .md files.", "personas"
        )
    rows = list(reader(text, path.name))
    if not rows:
        raise BadInput(f"{path.name} has no rows.", "personas")
    if len(rows) > ROW_LIMIT:
        raise BadInput(f"{path.name} has more than {ROW_LIMIT:,} rows.", "personas")
    return rows


def _read_folder(path: Path) -> list[Row]:
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in TEXT_SUFFIXES)
    if not files:
        raise BadInput(f"{path} holds no .txt or .md file.", "personas")
    return [
        Row(
            place=p.name,
            persona=decode(p.read_bytes(), p.name, "personas"),
            persona_name=p.stem.replace("_", " "),
        )
        for p in files
    ]


def _read_csv(text: str, name: str) -> Iterator[Row]:
    for place, cells in csv_rows(text, name, "personas", _check_columns):
        yield Row(place=place, **cells)


def _read_json_lines(text: str, name: str) -> Iterator[Row]:
    for place, cells in json_rows(text, name, "personas"):
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
        raise BadInput(
            f"{place}: unknown column {quote(unknown[0])}. Known: {', '.join(COLUMNS)}.", "personas"
        )
    if "persona" not in found and "persona_name" not in found:
        raise BadInput(f"{place}: there is neither a persona nor a persona_name column.", "personas")
